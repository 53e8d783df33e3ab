/** IR graphs, nodes and attributes to GraphProto, NodeProto and AttributeProto. */
import type { Attribute, Graph, Node, Value } from '../ir/index.js';
import { attributeTypes } from './decode-attribute.js';
import { type ExternalPlacement, encodeSparseTensor, encodeTensor } from './encode-tensor.js';
import { MessageWriter, writeEntries } from './message-writer.js';
import { encodeValueType } from './value-type-codec.js';

export function encodeGraph(graph: Graph, place: ExternalPlacement): MessageWriter {
  const message = new MessageWriter();
  for (const node of graph.nodes) message.message(1, encodeNode(node, place));
  message.text(2, graph.name);
  for (const [value, tensor] of graph.initializers) message.message(5, encodeTensor(tensor, value.name, place));
  message.text(10, graph.docString);
  for (const input of graph.inputs) message.message(11, encodeValue(input));
  for (const output of graph.outputs) message.message(12, encodeValue(output));
  for (const value of valuesWithFacts(graph)) message.message(13, encodeValue(value));
  for (const { tensorName, parameterTensorNames, unknownFields } of graph.quantizationAnnotations) {
    const annotation = new MessageWriter().text(1, tensorName);
    writeEntries(annotation, 2, parameterTensorNames);
    message.message(14, annotation.raw(unknownFields));
  }
  for (const [value, sparse] of graph.sparseInitializers) message.message(15, encodeSparseTensor(sparse, value.name, place));
  writeEntries(message, 16, graph.metadata);
  return message.raw(graph.unknownFields);
}

/** The values that value_info describes: made by a node, no graph output, and something is known about them. */
export function valuesWithFacts(graph: Graph): Value[] {
  const outputs = new Set(graph.outputs);
  return graph.nodes
    .flatMap((node) => node.outputs)
    .filter((value): value is Value => value !== null && !outputs.has(value))
    .filter(({ type, docString, metadata, unknownFields }) => Boolean(type || docString || metadata || unknownFields));
}

export function encodeValue(value: Value): MessageWriter {
  const message = new MessageWriter().text(1, value.name);
  if (value.type) message.bytes(2, encodeValueType(value.type));
  message.text(3, value.docString);
  writeEntries(message, 4, value.metadata);
  return message.raw(value.unknownFields);
}

export function encodeNode(node: Node, place: ExternalPlacement): MessageWriter {
  const message = new MessageWriter();
  for (const input of node.inputs) message.textAlways(1, input?.name ?? '');
  for (const output of node.outputs) message.textAlways(2, output?.name ?? '');
  message.text(3, node.name).text(4, node.opType);
  for (const [name, attribute] of node.attributes) message.message(5, encodeAttribute(name, attribute, place));
  message.text(6, node.docString).text(7, node.domain).text(8, node.overload);
  writeEntries(message, 9, node.metadata);
  return message.raw(node.unknownFields);
}

export function encodeAttribute(name: string, attribute: Attribute, place: ExternalPlacement): MessageWriter {
  const message = new MessageWriter().text(1, name);
  writeAttributeValue(message, attribute, place);
  message.text(13, attribute.docString);
  const type = attribute.kind === 'reference' ? attribute.type : attributeTypes[attribute.kind];
  return message.int(20, type).raw(attribute.unknownFields);
}

function writeAttributeValue(message: MessageWriter, attribute: Attribute, place: ExternalPlacement): void {
  switch (attribute.kind) {
    case 'float':
      message.float(2, attribute.value);
      break;
    case 'int':
      message.int(3, attribute.value);
      break;
    case 'string':
      message.bytes(4, attribute.value);
      break;
    case 'tensor':
      message.message(5, encodeTensor(attribute.value, attribute.value.name ?? '', place));
      break;
    case 'graph':
      message.message(6, encodeGraph(attribute.value, place));
      break;
    case 'type':
      message.bytes(14, encodeValueType(attribute.value));
      break;
    case 'sparse-tensor':
      message.message(22, encodeSparseTensor(attribute.value, attribute.value.values.name ?? '', place));
      break;
    case 'reference':
      message.text(21, attribute.value);
      break;
    default:
      writeList(message, attribute, place);
  }
}

type ListAttribute = Extract<
  Attribute,
  { readonly kind: 'floats' | 'ints' | 'strings' | 'tensors' | 'graphs' | 'types' | 'sparse-tensors' }
>;

function writeList(message: MessageWriter, attribute: ListAttribute, place: ExternalPlacement): void {
  switch (attribute.kind) {
    case 'floats':
      message.packedFloats(7, attribute.value);
      break;
    case 'ints':
      message.packedInts(8, attribute.value);
      break;
    case 'strings':
      for (const text of attribute.value) message.bytes(9, text);
      break;
    case 'tensors':
      for (const tensor of attribute.value) message.message(10, encodeTensor(tensor, tensor.name ?? '', place));
      break;
    case 'graphs':
      for (const graph of attribute.value) message.message(11, encodeGraph(graph, place));
      break;
    case 'types':
      for (const type of attribute.value) message.bytes(15, encodeValueType(type));
      break;
    case 'sparse-tensors':
      for (const sparse of attribute.value) message.message(23, encodeSparseTensor(sparse, sparse.values.name ?? '', place));
      break;
    default:
      attribute satisfies never;
  }
}
