/** TensorProto and SparseTensorProto to IR: every way of storing elements becomes raw little-endian bytes, checked against dims. */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { EngineError } from '../engine-errors.js';
import {
  type ByteSource,
  byteCount,
  bytesInMemory,
  type DataType,
  dataTypeFromCode,
  dataTypes,
  elementCount,
  type SparseTensor,
  type Tensor,
} from '../ir/index.js';
import { MalformedMessage, type MessageReader, readEntry, UnknownFields } from './message-reader.js';

/** Finds the bytes of a tensor that lives in another file. `entries` are TensorProto.external_data. */
export type ExternalDataResolver = (tensor: string, entries: ReadonlyMap<string, string>, byteLength: number) => ByteSource;

/** The lists of TensorProto by what their elements are on the wire. */
const wireTypes = {
  float_data: WireType.Bit32,
  int32_data: WireType.Varint,
  int64_data: WireType.Varint,
  double_data: WireType.Bit64,
  uint64_data: WireType.Varint,
  raw_data: WireType.LengthDelimited,
} as const;
type Storage = keyof typeof wireTypes;
const storageByField = new Map<number, Storage>([
  [4, 'float_data'],
  [5, 'int32_data'],
  [7, 'int64_data'],
  [9, 'raw_data'],
  [10, 'double_data'],
  [11, 'uint64_data'],
]);

interface TensorFields {
  name: string;
  dims: bigint[];
  typeCode: number;
  readonly stored: Map<Storage, ByteSource[]>;
  readonly strings: Uint8Array[];
  readonly external: Map<string, string>;
  isExternal: boolean;
  docString?: string;
  readonly metadata: Map<string, string>;
  readonly unknown: UnknownFields;
}

export function decodeTensor(reader: MessageReader, resolveExternal: ExternalDataResolver): Tensor {
  const fields = readFields(reader);
  const where = `tensor '${fields.name}'`;
  const dataType = elementType(fields.typeCode, where);
  const dims = fields.dims.map((size) => checkedSize(size, where));
  const count = elementCount(dims);
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(count * 16)) {
    throw new EngineError('model_invalid', `${where}: the declared shape [${dims}] is larger than any file.`);
  }
  const rest = {
    ...(fields.name === '' ? {} : { name: fields.name }),
    ...(fields.docString === undefined ? {} : { docString: fields.docString }),
    ...(fields.metadata.size === 0 ? {} : { metadata: fields.metadata }),
    ...fields.unknown.member,
  };
  if (dataType === 'string')
    return { dataType, dims, data: bytesInMemory(new Uint8Array(0)), strings: stringElements(fields, count), ...rest };
  if (fields.strings.length > 0) throw new EngineError('model_invalid', `${where}: string_data in a tensor of ${dataType}.`);
  const byteLength = byteCount(dataType, count);
  const data = fields.isExternal ? externalBytes(fields, byteLength, resolveExternal) : storedBytes(fields, dataType, byteLength);
  if (data.byteLength !== byteLength) {
    throw new EngineError('model_invalid', `${where}: ${dataType}[${dims}] takes ${byteLength} bytes, the file holds ${data.byteLength}.`, {
      tensor: fields.name,
    });
  }
  return { dataType, dims, data, ...rest };
}

export function decodeSparseTensor(reader: MessageReader, resolveExternal: ExternalDataResolver): SparseTensor {
  let values: Tensor | undefined;
  let indices: Tensor | undefined;
  const dims: bigint[] = [];
  const unknown = new UnknownFields();
  while (reader.next()) {
    if (reader.field === 1) values = decodeTensor(reader.message('TensorProto'), resolveExternal);
    else if (reader.field === 2) indices = decodeTensor(reader.message('TensorProto'), resolveExternal);
    else if (reader.field === 3) reader.appendInt64(dims);
    else unknown.keep(reader);
  }
  if (!values || !indices) throw new MalformedMessage('a sparse tensor has no values or no indices');
  const name = values.name ?? '';
  return { values, indices, dims: dims.map((size) => checkedSize(size, `sparse tensor '${name}'`)), ...unknown.member };
}

/** The IR type for TensorProto.DataType `code`; EngineError when there is none. */
export function elementType(code: number, where: string): DataType {
  const dataType = dataTypeFromCode(code);
  if (dataType) return dataType;
  if (code === 0) throw new EngineError('model_invalid', `${where}: no element type is stated.`);
  throw new EngineError('model_unsupported', `${where}: element type ${code} is unknown.`);
}

function readFields(reader: MessageReader): TensorFields {
  reader.charge(8);
  const fields: TensorFields = {
    name: '',
    dims: [],
    typeCode: 0,
    stored: new Map(),
    strings: [],
    external: new Map(),
    isExternal: false,
    metadata: new Map(),
    unknown: new UnknownFields(),
  };
  while (reader.next()) {
    const storage = storageByField.get(reader.field);
    if (storage) store(fields, storage, reader);
    else readField(fields, reader);
  }
  return fields;
}

function store(fields: TensorFields, storage: Storage, reader: MessageReader): void {
  const part = reader.packedElements(wireTypes[storage]);
  const parts = fields.stored.get(storage);
  if (!parts) fields.stored.set(storage, [part]);
  else if (storage === 'raw_data') throw reader.malformed('stands twice');
  else parts.push(part);
}

function readField(fields: TensorFields, reader: MessageReader): void {
  switch (reader.field) {
    case 1:
      reader.appendInt64(fields.dims);
      break;
    case 2:
      fields.typeCode = reader.int32();
      break;
    case 3:
      throw new EngineError('model_unsupported', `tensor '${fields.name}' is stored in segments, which onnxruntime does not read either.`);
    case 6:
      reader.charge(1);
      fields.strings.push(reader.bytes());
      break;
    case 8:
      fields.name = reader.string();
      break;
    case 12:
      fields.docString = reader.string();
      break;
    case 13: {
      const [key, value] = readEntry(reader.message('StringStringEntryProto'));
      if (fields.external.has(key))
        throw new EngineError('external_data_invalid', `tensor '${fields.name}': external_data names ${key} twice.`);
      fields.external.set(key, value);
      break;
    }
    case 14:
      fields.isExternal = reader.int32() === 1;
      break;
    case 16:
      fields.metadata.set(...readEntry(reader.message('StringStringEntryProto')));
      break;
    default:
      fields.unknown.keep(reader);
  }
}

function checkedSize(size: bigint, where: string): number {
  if (size < 0n || size > BigInt(Number.MAX_SAFE_INTEGER))
    throw new EngineError('model_invalid', `${where}: dimension ${size} is out of range.`);
  return Number(size);
}

function stringElements(fields: TensorFields, count: number): Uint8Array[] {
  if (fields.isExternal || fields.stored.size > 0 || fields.strings.length !== count) {
    throw new EngineError(
      'model_invalid',
      `tensor '${fields.name}': ${count} strings are declared, string_data holds ${fields.strings.length}.`,
    );
  }
  return fields.strings;
}

function externalBytes(fields: TensorFields, byteLength: number, resolve: ExternalDataResolver): ByteSource {
  const data = resolve(fields.name, fields.external, byteLength);
  if (fields.stored.size > 0)
    throw new EngineError('model_invalid', `tensor '${fields.name}' has data both in the model and in another file.`);
  return data;
}

const empty = bytesInMemory(new Uint8Array(0));

function storedBytes(fields: TensorFields, dataType: DataType, byteLength: number): ByteSource {
  const filled = [...fields.stored].filter(([, parts]) => parts.some((part) => part.byteLength > 0));
  const [only, another] = filled;
  if (!only) return empty;
  if (another) throw new EngineError('model_invalid', `tensor '${fields.name}' has data in both ${only[0]} and ${another[0]}.`);
  const [storage, parts] = only;
  if (!allows(storage, dataType)) throw new EngineError('model_invalid', `tensor '${fields.name}': ${storage} in a tensor of ${dataType}.`);
  const elements = joined(parts);
  // float_data and double_data are fixed-width little-endian: packed, they already are raw_data.
  if (storage === 'raw_data' || storage === 'float_data' || storage === 'double_data') return elements;
  return bytesInMemory(varintElements(elements.read(), storage, { dataType, byteLength, name: fields.name }));
}

/** onnx.proto, comments at float_data, int32_data, int64_data, double_data and uint64_data. */
function allows(storage: Storage, dataType: DataType): boolean {
  switch (storage) {
    case 'raw_data':
      return true;
    case 'float_data':
      return dataType === 'float32' || dataType === 'complex64';
    case 'double_data':
      return dataType === 'float64' || dataType === 'complex128';
    case 'int64_data':
      return dataType === 'int64';
    case 'uint64_data':
      return dataType === 'uint64' || dataType === 'uint32';
    case 'int32_data':
      return dataType === 'int32' || dataTypes[dataType].bits <= 16;
    default:
      return storage satisfies never;
  }
}

function joined(parts: readonly ByteSource[]): ByteSource {
  const [first] = parts;
  if (first && parts.length === 1) return first;
  return bytesInMemory(new Uint8Array(Buffer.concat(parts.map((part) => part.read()))));
}

interface Target {
  readonly dataType: DataType;
  readonly byteLength: number;
  readonly name: string;
}

/** Varint elements as little-endian numbers of the tensor's width; sub-byte types hold one packed byte per element. */
function varintElements(encoded: Uint8Array, storage: Storage, target: Target): Uint8Array {
  const width = Math.max(1, dataTypes[target.dataType].bits / 8);
  const count = target.byteLength / width;
  const mismatch = () =>
    new EngineError('model_invalid', `tensor '${target.name}': ${storage} does not hold the declared ${count} elements.`);
  // A varint takes at least one byte: refused before anything of the declared size is allocated.
  if (count > encoded.length) throw mismatch();
  const bytes = new Uint8Array(target.byteLength);
  const view = new DataView(bytes.buffer);
  const reader = new BinaryReader(encoded);
  try {
    for (let at = 0; at < target.byteLength; at += width) {
      if (width === 8) view.setBigUint64(at, BigInt.asUintN(64, BigInt(reader.int64())), true);
      else if (width === 4) view.setInt32(at, reader.int32(), true);
      else if (width === 2) view.setInt16(at, reader.int32(), true);
      else view.setInt8(at, reader.int32());
    }
  } catch {
    throw mismatch();
  }
  if (reader.pos !== reader.len) throw mismatch();
  return bytes;
}
