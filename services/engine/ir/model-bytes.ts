/** How large the file of a model will be, without writing it: the constants exactly, names and structure to a few percent. */
import type { Attribute, Graph, Model, Node, Value } from './graph.js';
import type { Tensor } from './tensor.js';
import { allGraphs } from './traversal.js';

/** Tag and length of a protobuf field; a field of a message that is short. */
const FIELD_BYTES = 2;
/** Element type, dims and name of a tensor come on top of its name and bytes. */
const TENSOR_BYTES = 16;
/** Name, type and a few dims of a value. */
const VALUE_TYPE_BYTES = 24;

export function modelBytes(model: Model): number {
  let bytes = 64;
  for (const graph of allGraphs(model)) bytes += graphBytes(graph);
  return bytes;
}

function graphBytes(graph: Graph): number {
  const tensors = [...graph.initializers].map(([{ name }, tensor]) => tensorBytes(tensor) + name.length);
  const described = [...graph.inputs, ...graph.outputs, ...graph.nodes.flatMap(({ outputs }) => outputs)].filter(hasType);
  return sum(tensors) + sum(graph.nodes.map(nodeBytes)) + sum(described.map(({ name }) => name.length + VALUE_TYPE_BYTES));
}

function hasType(value: Value | null): value is Value {
  return value !== null && value.type !== null;
}

function tensorBytes({ data, strings = [] }: Tensor): number {
  return data.byteLength + sum(strings.map(({ byteLength }) => byteLength)) + TENSOR_BYTES;
}

function nodeBytes({ name, opType, domain, inputs, outputs, attributes }: Node): number {
  const texts = [name, opType, domain, ...[...inputs, ...outputs].map((value) => value?.name ?? '')];
  const own = sum(texts.map((text) => text.length + FIELD_BYTES)) + FIELD_BYTES;
  return own + sum([...attributes].map(([key, attribute]) => key.length + 3 * FIELD_BYTES + attributeBytes(attribute)));
}

/** Graphs are counted for themselves. */
function attributeBytes(attribute: Attribute): number {
  switch (attribute.kind) {
    case 'tensor':
      return tensorBytes(attribute.value);
    case 'tensors':
      return sum(attribute.value.map(tensorBytes));
    case 'string':
      return attribute.value.byteLength;
    case 'ints':
      return 3 * attribute.value.length;
    case 'floats':
      return 4 * attribute.value.length;
    default:
      return 4;
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
