/** A model as plain data with names instead of references, so that two models can be compared with toEqual. */
import type { Attribute, Graph, Model, SparseTensor, Tensor, Value } from '../../../../services/engine/ir/index.js';

export function comparable(model: Model): unknown {
  const { irVersion, producerName, producerVersion, domain, modelVersion, docString, metadata, unknownFields } = model;
  return {
    ...{ irVersion, producerName, producerVersion, domain, modelVersion, docString, metadata, unknownFields },
    opsetImports: model.opsetImports,
    graph: comparableGraph(model.graph),
    functions: model.functions.map((definition) => ({
      ...definition,
      defaultAttributes: [...definition.defaultAttributes].map(([name, attribute]) => [name, comparableAttribute(attribute)]),
      body: comparableGraph(definition.body),
    })),
  };
}

function comparableGraph(graph: Graph): unknown {
  return {
    name: graph.name,
    docString: graph.docString,
    metadata: graph.metadata,
    unknownFields: graph.unknownFields,
    annotations: graph.quantizationAnnotations,
    inputs: graph.inputs.map(comparableValue),
    outputs: graph.outputs.map(comparableValue),
    initializers: [...graph.initializers].map(([value, tensor]) => [value.name, comparableTensor(tensor)]),
    sparse: [...graph.sparseInitializers].map(([value, tensor]) => [value.name, comparableSparse(tensor)]),
    nodes: graph.nodes.map((node) => ({
      ...{ opType: node.opType, domain: node.domain, overload: node.overload, name: node.name },
      ...{ docString: node.docString, metadata: node.metadata, unknownFields: node.unknownFields },
      inputs: node.inputs.map((value) => value?.name ?? null),
      outputs: node.outputs.map((value) => value && comparableValue(value)),
      attributes: [...node.attributes].map(([name, attribute]) => [name, comparableAttribute(attribute)]),
    })),
  };
}

function comparableValue({ name, type, docString, metadata, unknownFields }: Value): unknown {
  return { name, type, docString, metadata, unknownFields };
}

export function comparableTensor({ data, ...rest }: Tensor): unknown {
  return { ...rest, dims: [...rest.dims], bytes: Buffer.from(data.read()).toString('hex') };
}

function comparableSparse({ values, indices, dims }: SparseTensor): unknown {
  return { values: comparableTensor(values), indices: comparableTensor(indices), dims };
}

function comparableAttribute(attribute: Attribute): unknown {
  switch (attribute.kind) {
    case 'tensor':
      return { ...attribute, value: comparableTensor(attribute.value) };
    case 'tensors':
      return { ...attribute, value: attribute.value.map(comparableTensor) };
    case 'graph':
      return { ...attribute, value: comparableGraph(attribute.value) };
    case 'graphs':
      return { ...attribute, value: attribute.value.map(comparableGraph) };
    case 'sparse-tensor':
      return { ...attribute, value: comparableSparse(attribute.value) };
    case 'sparse-tensors':
      return { ...attribute, value: attribute.value.map(comparableSparse) };
    default:
      return attribute;
  }
}
