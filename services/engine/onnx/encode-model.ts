/** IR to ModelProto: the same model always gives the same bytes. */
import { EngineError } from '../engine-errors.js';
import type { FunctionDefinition, Model } from '../ir/index.js';
import { encodeAttribute, encodeGraph, encodeNode, encodeValue, valuesWithFacts } from './encode-graph.js';
import type { ExternalPlacement } from './encode-tensor.js';
import { MessageWriter, messageBytesMax, writeEntries } from './message-writer.js';

/** The model in one piece of memory, weights included. For large models use `encodeModelFile`. Throws EngineError model_unsupported above 2 GiB. */
export function encodeModel(model: Model): Uint8Array {
  const message = encodeModelMessage(model, () => undefined);
  const bytes = new Uint8Array(message.byteLength);
  let at = 0;
  for (const part of message.parts()) {
    bytes.set(part instanceof Uint8Array ? part : part.read(), at);
    at += part.byteLength;
  }
  return bytes;
}

/** The message with its weights not read yet. */
export function encodeModelMessage(model: Model, place: ExternalPlacement): MessageWriter {
  const message = new MessageWriter()
    .int(1, model.irVersion)
    .text(2, model.producerName)
    .text(3, model.producerVersion)
    .text(4, model.domain);
  if (model.modelVersion !== 0n) message.int(5, model.modelVersion);
  message.text(6, model.docString).message(7, encodeGraph(model.graph, place));
  writeOpsetImports(message, 8, model.opsetImports);
  writeEntries(message, 14, model.metadata);
  for (const definition of model.functions) message.message(25, encodeFunction(definition, place));
  message.raw(model.unknownFields);
  if (message.byteLength > messageBytesMax) {
    throw new EngineError(
      'model_unsupported',
      `The model takes ${message.byteLength} bytes in one file; protobuf allows ${messageBytesMax}.`,
    );
  }
  return message;
}

function writeOpsetImports(message: MessageWriter, field: number, imports: ReadonlyMap<string, number>): void {
  for (const [domain, version] of imports) message.message(field, new MessageWriter().text(1, domain).int(2, version));
}

function encodeFunction(definition: FunctionDefinition, place: ExternalPlacement): MessageWriter {
  const { body } = definition;
  const message = new MessageWriter().text(1, definition.name);
  for (const input of body.inputs) message.textAlways(4, input.name);
  for (const output of body.outputs) message.textAlways(5, output.name);
  for (const name of definition.attributeNames) message.textAlways(6, name);
  for (const node of body.nodes) message.message(7, encodeNode(node, place));
  message.text(8, body.docString);
  writeOpsetImports(message, 9, definition.opsetImports);
  message.text(10, definition.domain);
  for (const [name, attribute] of definition.defaultAttributes) message.message(11, encodeAttribute(name, attribute, place));
  const described = [...body.inputs, ...body.outputs].filter((value) => value.type);
  for (const value of [...described, ...valuesWithFacts(body)]) message.message(12, encodeValue(value));
  message.text(13, definition.overload);
  writeEntries(message, 14, body.metadata);
  return message.raw(body.unknownFields);
}
