/** ModelProto to IR: the way in for every model, hostile ones included. */
import { closeSync, constants, fstatSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { EngineError } from '../engine-errors.js';
import { type Attribute, allGraphs, bytesInMemory, type FunctionDefinition, Graph, Model } from '../ir/index.js';
import { type ByteInput, FileInput, MemoryInput } from './byte-input.js';
import { decodeAttribute } from './decode-attribute.js';
import { type DecodeContext, locate, Scope } from './decode-context.js';
import { buildGraph, decodeGraph } from './decode-graph.js';
import type { ExternalDataResolver } from './decode-tensor.js';
import { externalDataIn, noExternalData, parseExternalData } from './external-data.js';
import { identify } from './file-range.js';
import { refuseOtherFormats, signatureBytes } from './file-signature.js';
import { emptyGraphRecord, readNodeRecord, readValueRecord } from './graph-record.js';
import { MessageReader, readEntry, UnknownFields } from './message-reader.js';
import { renameShadowingValues } from './shadowed-names.js';
import { irVersionMax, opsetVersionMax } from './supported-versions.js';

/** protobuf's own limit on one message; larger models keep their weights in files beside it. */
const modelBytesMax = 2 ** 31 - 1;

/**
 * Decodes a model in memory; its weights are views into `bytes`. External data is looked up in `folder` and refused without one.
 * Throws EngineError model_invalid, model_unsupported, opset_unsupported or external_data_invalid.
 */
export function decodeModel(bytes: Uint8Array, options: { readonly folder?: string } = {}): Model {
  return decode(new MemoryInput(bytes), options.folder === undefined ? noExternalData : externalDataIn(options.folder));
}

/**
 * Decodes a model file. Weights stay on disk, in this file and in those of `dataFolder` (default: the folder of the model); they are
 * read when they are needed. Throws EngineError as `decodeModel` does.
 */
export function decodeModelFile(path: string, options: { readonly bytesMax?: number; readonly dataFolder?: string } = {}): Model {
  const { bytesMax = modelBytesMax, dataFolder = dirname(path) } = options;
  return decodeFile(path, { bytesMax, resolveExternal: externalDataIn(dataFolder) });
}

/** Locations of external data that a model file names, each once, without opening them. Throws EngineError. */
export function externalDataLocations(path: string): string[] {
  const locations = new Set<string>();
  const resolveExternal: ExternalDataResolver = (tensor, entries, byteLength) => {
    locations.add(parseExternalData(tensor, entries).location);
    return { ...bytesInMemory(new Uint8Array(0)), byteLength };
  };
  decodeFile(path, { bytesMax: modelBytesMax, resolveExternal });
  return [...locations];
}

function decodeFile(path: string, { bytesMax, resolveExternal }: { bytesMax: number; resolveExternal: ExternalDataResolver }): Model {
  const descriptor = openModel(path);
  try {
    const file = identify(path, descriptor);
    if (!fstatSync(descriptor).isFile()) throw new EngineError('model_invalid', 'The model is not a regular file.');
    if (file.sizeBytes > Math.min(bytesMax, modelBytesMax)) {
      throw new EngineError(
        'model_unsupported',
        `The model file has ${file.sizeBytes} bytes; at most ${Math.min(bytesMax, modelBytesMax)} are allowed in one file. Keep large weights as external data.`,
      );
    }
    return decode(new FileInput(descriptor, file), resolveExternal);
  } finally {
    closeSync(descriptor);
  }
}

function openModel(path: string): number {
  try {
    return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new EngineError('model_invalid', 'The model file cannot be opened.', { path }, { cause });
  }
}

/** Names and shapes from the file stand in messages; a name may be as long as the file. */
const messageLengthMax = 600;

function decode(input: ByteInput, resolveExternal: ExternalDataResolver): Model {
  try {
    return decodeInput(input, resolveExternal);
  } catch (error) {
    if (!(error instanceof EngineError) || error.message.length <= messageLengthMax) throw error;
    throw new EngineError(error.code, `${error.message.slice(0, messageLengthMax)}...`, {}, { cause: error.cause });
  }
}

function decodeInput(input: ByteInput, resolveExternal: ExternalDataResolver): Model {
  refuseOtherFormats(input.bytes(0, Math.min(signatureBytes, input.byteLength)));
  const context: DecodeContext = { resolveExternal, decodeSubgraph: (reader, scope) => decodeGraph(reader, context, scope) };
  const reader = new MessageReader(input, { start: 0, end: input.byteLength }, 'ModelProto');
  const model = locate('The model', () => readModel(reader, context));
  refuseUnsupportedVersions(model);
  renameShadowingValues(model);
  return model;
}

function readModel(reader: MessageReader, context: DecodeContext): Model {
  const model = new Model(new Graph());
  model.irVersion = 0;
  let graph: Graph | undefined;
  const unknown = new UnknownFields();
  while (reader.next()) {
    if (reader.field === 7) {
      if (graph) throw reader.malformed('stands twice');
      graph = decodeGraph(reader.message('GraphProto'), context, null);
    } else if (reader.field === 25)
      model.functions.push(locate(`function ${model.functions.length}`, () => readFunction(reader.message('FunctionProto'), context)));
    else if (!readModelField(model, reader)) unknown.keep(reader);
  }
  if (!graph) throw new EngineError('model_invalid', 'The file holds no graph; it is not an ONNX model.');
  if (graph.outputs.length === 0) throw new EngineError('model_invalid', 'The graph has no outputs.');
  model.graph = graph;
  model.unknownFields = unknown.member.unknownFields;
  return model;
}

function readModelField(model: Model, reader: MessageReader): boolean {
  switch (reader.field) {
    case 1:
      model.irVersion = reader.size();
      return true;
    case 2:
      model.producerName = reader.string();
      return true;
    case 3:
      model.producerVersion = reader.string();
      return true;
    case 4:
      model.domain = reader.string();
      return true;
    case 5:
      model.modelVersion = reader.int64();
      return true;
    case 6:
      model.docString = reader.string();
      return true;
    case 8:
      readOpsetImport(reader.message('OperatorSetIdProto'), model.opsetImports);
      return true;
    case 14:
      model.metadata.set(...readEntry(reader.message('StringStringEntryProto')));
      return true;
    default:
      return false;
  }
}

function readOpsetImport(reader: MessageReader, imports: Map<string, number>): void {
  let domain = '';
  let version = 0;
  while (reader.next()) {
    if (reader.field === 1) domain = reader.string();
    else if (reader.field === 2) version = reader.size();
    else throw reader.malformed('is unknown');
  }
  if (domain === 'ai.onnx') domain = '';
  imports.set(domain, Math.max(version, imports.get(domain) ?? 0));
}

function readFunction(reader: MessageReader, context: DecodeContext): FunctionDefinition {
  reader.charge(32);
  const record = emptyGraphRecord();
  let [name, domain, overload] = ['', '', ''];
  const attributeNames: string[] = [];
  const defaultReaders: MessageReader[] = [];
  const opsetImports = new Map<string, number>();
  const untyped = (valueName: string) => ({
    name: valueName,
    type: null,
    docString: undefined,
    metadata: undefined,
    unknownFields: undefined,
  });
  while (reader.next()) {
    if (reader.field === 1) name = reader.string();
    else if (reader.field === 4) record.inputs.push(untyped(reader.string()));
    else if (reader.field === 5) record.outputs.push(untyped(reader.string()));
    else if (reader.field === 6) attributeNames.push(reader.string());
    else if (reader.field === 7) record.nodes.push(readNodeRecord(reader.message('NodeProto')));
    else if (reader.field === 8) record.docString = reader.string();
    else if (reader.field === 9) readOpsetImport(reader.message('OperatorSetIdProto'), opsetImports);
    else if (reader.field === 10) domain = reader.string();
    else if (reader.field === 11) defaultReaders.push(reader.message('AttributeProto'));
    else if (reader.field === 12) record.facts.push(readValueRecord(reader.message('ValueInfoProto')));
    else if (reader.field === 13) overload = reader.string();
    else if (reader.field === 14) record.metadata.set(...readEntry(reader.message('StringStringEntryProto')));
    else record.unknown.keep(reader);
  }
  record.name = name;
  const where = `function '${name}'`;
  const scope = new Scope(name, null);
  const defaultAttributes = new Map<string, Attribute>(defaultReaders.map((each) => decodeAttribute(each, { context, scope, where })));
  return { name, domain, overload, attributeNames, defaultAttributes, opsetImports, body: buildGraph(record, context, null) };
}

function refuseUnsupportedVersions(model: Model): void {
  if (model.irVersion < 1) throw new EngineError('model_invalid', 'The model states no IR version.');
  if (model.irVersion > irVersionMax) {
    throw new EngineError(
      'model_unsupported',
      `The model uses ONNX IR version ${model.irVersion}; the runtime reads versions up to ${irVersionMax}.`,
    );
  }
  if (model.opsetImports.size === 0) throw new EngineError('model_invalid', 'The model imports no operator set (opset_import is empty).');
  for (const imports of [model.opsetImports, ...model.functions.map((definition) => definition.opsetImports)]) refuseNewerOpsets(imports);
  if (!model.opsetImports.has('')) {
    for (const graph of allGraphs(model)) {
      const node = graph.nodes.find((candidate) => candidate.domain === '');
      if (node)
        throw new EngineError(
          'model_invalid',
          `Node '${node.name}' (${node.opType}) is of the ONNX domain, whose operator set the model does not import.`,
        );
    }
  }
}

function refuseNewerOpsets(imports: ReadonlyMap<string, number>): void {
  for (const [domain, version] of imports) {
    const versionMax = opsetVersionMax.get(domain);
    if (version < 1) throw new EngineError('model_invalid', `Operator set version ${version} of domain '${domain}' does not exist.`);
    if (versionMax !== undefined && version > versionMax) {
      throw new EngineError(
        'opset_unsupported',
        `The model needs operator set ${version} of ${domain || 'ai.onnx'}; the runtime has ${versionMax}. Export it with an older operator set.`,
        { domain, version, versionMax },
      );
    }
  }
}
