/** GraphProto and NodeProto as they stand in the file: names not resolved yet, attributes not read yet. */
import type { QuantizationAnnotation, SparseTensor, Tensor, ValueType } from '../ir/index.js';
import { type DecodeContext, locate } from './decode-context.js';
import { decodeSparseTensor, decodeTensor } from './decode-tensor.js';
import { type MessageReader, readEntry, UnknownFields } from './message-reader.js';
import { decodeValueType } from './value-type-codec.js';

/** ValueInfoProto. */
export interface ValueRecord {
  readonly name: string;
  readonly type: ValueType | null;
  readonly docString: string | undefined;
  readonly metadata: ReadonlyMap<string, string> | undefined;
  readonly unknownFields: Uint8Array | undefined;
}

export interface NodeRecord {
  name: string;
  opType: string;
  domain: string;
  overload: string;
  docString?: string;
  readonly inputs: string[];
  readonly outputs: string[];
  /** AttributeProto messages: read once every name of the graph is known. */
  readonly attributes: MessageReader[];
  readonly metadata: Map<string, string>;
  readonly unknown: UnknownFields;
}

export interface GraphRecord {
  name: string;
  docString: string | undefined;
  readonly nodes: NodeRecord[];
  readonly initializers: Tensor[];
  readonly sparseInitializers: SparseTensor[];
  readonly inputs: ValueRecord[];
  readonly outputs: ValueRecord[];
  /** value_info. */
  readonly facts: ValueRecord[];
  readonly annotations: QuantizationAnnotation[];
  readonly metadata: Map<string, string>;
  readonly unknown: UnknownFields;
}

export function emptyGraphRecord(): GraphRecord {
  return {
    name: '',
    docString: undefined,
    nodes: [],
    initializers: [],
    sparseInitializers: [],
    inputs: [],
    outputs: [],
    facts: [],
    annotations: [],
    metadata: new Map(),
    unknown: new UnknownFields(),
  };
}

export function readGraphRecord(reader: MessageReader, context: DecodeContext): GraphRecord {
  const record = emptyGraphRecord();
  while (reader.next()) readGraphField(record, reader, context);
  return record;
}

function readGraphField(record: GraphRecord, reader: MessageReader, context: DecodeContext): void {
  const { resolveExternal } = context;
  switch (reader.field) {
    case 1:
      record.nodes.push(locate(`node ${record.nodes.length} of graph '${record.name}'`, () => readNodeRecord(reader.message('NodeProto'))));
      break;
    case 2:
      record.name = reader.string();
      break;
    case 5:
      record.initializers.push(
        locate(`initializer ${record.initializers.length} of graph '${record.name}'`, () =>
          decodeTensor(reader.message('TensorProto'), resolveExternal),
        ),
      );
      break;
    case 10:
      record.docString = reader.string();
      break;
    case 11:
      record.inputs.push(readValueRecord(reader.message('ValueInfoProto')));
      break;
    case 12:
      record.outputs.push(readValueRecord(reader.message('ValueInfoProto')));
      break;
    case 13:
      record.facts.push(readValueRecord(reader.message('ValueInfoProto')));
      break;
    case 14:
      record.annotations.push(readAnnotation(reader.message('TensorAnnotation')));
      break;
    case 15:
      record.sparseInitializers.push(decodeSparseTensor(reader.message('SparseTensorProto'), resolveExternal));
      break;
    case 16:
      record.metadata.set(...readEntry(reader.message('StringStringEntryProto')));
      break;
    default:
      record.unknown.keep(reader);
  }
}

export function readNodeRecord(reader: MessageReader): NodeRecord {
  reader.charge(16);
  const record: NodeRecord = {
    name: '',
    opType: '',
    domain: '',
    overload: '',
    inputs: [],
    outputs: [],
    attributes: [],
    metadata: new Map(),
    unknown: new UnknownFields(),
  };
  while (reader.next()) readNodeField(record, reader);
  return record;
}

function readNodeField(record: NodeRecord, reader: MessageReader): void {
  switch (reader.field) {
    case 1:
      record.inputs.push(reader.string());
      break;
    case 2:
      record.outputs.push(reader.string());
      break;
    case 3:
      record.name = reader.string();
      break;
    case 4:
      record.opType = reader.string();
      break;
    case 5:
      record.attributes.push(reader.message('AttributeProto'));
      break;
    case 6:
      record.docString = reader.string();
      break;
    case 7:
      record.domain = reader.string();
      break;
    case 8:
      record.overload = reader.string();
      break;
    case 9:
      record.metadata.set(...readEntry(reader.message('StringStringEntryProto')));
      break;
    default:
      record.unknown.keep(reader);
  }
}

export function readValueRecord(reader: MessageReader): ValueRecord {
  reader.charge(4);
  let name = '';
  let typeReader: MessageReader | undefined;
  let docString: string | undefined;
  const metadata = new Map<string, string>();
  const unknown = new UnknownFields();
  while (reader.next()) {
    if (reader.field === 1) name = reader.string();
    else if (reader.field === 2) typeReader = reader.message('TypeProto');
    else if (reader.field === 3) docString = reader.string();
    else if (reader.field === 4) metadata.set(...readEntry(reader.message('StringStringEntryProto')));
    else unknown.keep(reader);
  }
  const where = `value '${name}'`;
  const type = typeReader ? locate(where, () => typeReader && decodeValueType(typeReader, where)) : null;
  return {
    name,
    type: type ?? null,
    docString,
    metadata: metadata.size > 0 ? metadata : undefined,
    unknownFields: unknown.member.unknownFields,
  };
}

function readAnnotation(reader: MessageReader): QuantizationAnnotation {
  reader.charge(4);
  let tensorName = '';
  const parameterTensorNames = new Map<string, string>();
  const unknown = new UnknownFields();
  while (reader.next()) {
    if (reader.field === 1) tensorName = reader.string();
    else if (reader.field === 2) parameterTensorNames.set(...readEntry(reader.message('StringStringEntryProto')));
    else unknown.keep(reader);
  }
  return { tensorName, parameterTensorNames, ...unknown.member };
}
