/** A copy of a model that can be edited on its own; weights, types and metadata, being immutable, are shared. */
import { type Attribute, Graph, Model, Node, Value } from './graph.js';

/** Deep copy of the graphs and functions of `model`. Weights are not copied. */
export function cloneModel(model: Model): Model {
  const copy = new Model(cloneGraph(model.graph));
  copy.irVersion = model.irVersion;
  for (const [domain, version] of model.opsetImports) copy.opsetImports.set(domain, version);
  copy.producerName = model.producerName;
  copy.producerVersion = model.producerVersion;
  copy.domain = model.domain;
  copy.modelVersion = model.modelVersion;
  copy.docString = model.docString;
  for (const [key, value] of model.metadata) copy.metadata.set(key, value);
  for (const definition of model.functions) copy.functions.push({ ...definition, body: cloneGraph(definition.body) });
  copy.unknownFields = model.unknownFields;
  return copy;
}

/**
 * Copy of a graph and the graphs below it. `copies` maps values from outside to what the copy shall read instead;
 * unmapped ones are read as they are. Filled with the copies of the values the graph defines.
 */
export function cloneGraph(graph: Graph, copies: Map<Value, Value> = new Map()): Graph {
  const copy = new Graph(graph.name);
  copy.docString = graph.docString;
  copy.metadata = graph.metadata;
  copy.unknownFields = graph.unknownFields;
  for (const annotation of graph.quantizationAnnotations) copy.quantizationAnnotations.push(annotation);
  const define = (value: Value): Value => {
    const known = copies.get(value);
    if (known) return known;
    const made = new Value(value.name, value.type, value.docString, value.metadata);
    made.unknownFields = value.unknownFields;
    copies.set(value, made);
    return made;
  };
  for (const input of graph.inputs) copy.inputs.push(define(input));
  for (const [value, tensor] of graph.initializers) copy.initializers.set(define(value), tensor);
  for (const [value, tensor] of graph.sparseInitializers) copy.sparseInitializers.set(define(value), tensor);
  for (const node of graph.nodes) for (const output of node.outputs) if (output) define(output);
  for (const node of graph.nodes) copy.append(cloneNode(node, copies));
  for (const output of graph.outputs) copy.outputs.push(copies.get(output) ?? output);
  return copy;
}

/** Copy of one node that reads and makes the mapped values; values without a copy are read, and made, as they are. */
export function cloneNode(node: Node, copies: Map<Value, Value>): Node {
  const mapped = (value: Value | null) => value && (copies.get(value) ?? value);
  const attributes = new Map<string, Attribute>();
  for (const [name, attribute] of node.attributes) attributes.set(name, cloneAttribute(attribute, copies));
  const { opType, domain, name, overload, docString, metadata, unknownFields } = node;
  return new Node({
    ...{ opType, domain, name, overload, attributes },
    inputs: node.inputs.map(mapped),
    outputs: node.outputs.map(mapped),
    ...(docString === undefined ? {} : { docString }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(unknownFields === undefined ? {} : { unknownFields }),
  });
}

function cloneAttribute(attribute: Attribute, copies: Map<Value, Value>): Attribute {
  if (attribute.kind === 'graph') return { ...attribute, value: cloneGraph(attribute.value, copies) };
  if (attribute.kind === 'graphs') return { ...attribute, value: attribute.value.map((graph) => cloneGraph(graph, copies)) };
  return attribute;
}
