/** TypeProto to ValueType and back. */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { type DataType, type Dimension, dataTypes, type Shape, type ValueType } from '../ir/index.js';
import { elementType } from './decode-tensor.js';
import { MalformedMessage, type MessageReader } from './message-reader.js';

/**
 * Types whose TypeProto says more than ValueType can (unknown fields, denotations of dimensions), as they were encoded.
 * Keyed by identity: whoever changes a type makes a new object and so drops the old encoding.
 */
const verbatim = new WeakMap<ValueType, Uint8Array>();

interface Fidelity {
  /** False once something was read that ValueType does not hold. */
  complete: boolean;
}

/** null for a TypeProto that states nothing. */
export function decodeValueType(reader: MessageReader, where: string): ValueType | null {
  const fidelity: Fidelity = { complete: true };
  const type = readType(reader, where, fidelity);
  if (type && !fidelity.complete) verbatim.set(type, reader.encodedMessage().slice());
  return type;
}

function readType(reader: MessageReader, where: string, fidelity: Fidelity): ValueType | null {
  let type: ValueType | null = null;
  let denotation: string | undefined;
  const set = (next: ValueType) => {
    if (type) throw new MalformedMessage(`${where}: a type is stated twice`);
    type = next;
  };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        set(readTensorType(reader.message('TypeProto.Tensor'), { kind: 'tensor', where, fidelity }));
        break;
      case 8:
        set(readTensorType(reader.message('TypeProto.SparseTensor'), { kind: 'sparse-tensor', where, fidelity }));
        break;
      case 4:
        set({ kind: 'sequence', element: readElementType(reader.message('TypeProto.Sequence'), where, fidelity) });
        break;
      case 9:
        set({ kind: 'optional', element: readElementType(reader.message('TypeProto.Optional'), where, fidelity) });
        break;
      case 5:
        set(readMapType(reader.message('TypeProto.Map'), where, fidelity));
        break;
      case 7:
        set({ kind: 'opaque', bytes: reader.bytes().slice() });
        break;
      case 6:
        denotation = reader.string();
        break;
      default:
        fidelity.complete = false;
    }
  }
  return withDenotation(type, denotation);
}

function withDenotation(type: ValueType | null, denotation: string | undefined): ValueType | null {
  return type && denotation ? { ...type, denotation } : type;
}

function readElementType(reader: MessageReader, where: string, fidelity: Fidelity): ValueType | null {
  let element: ValueType | null = null;
  while (reader.next()) {
    if (reader.field === 1) element = readType(reader.message('TypeProto'), where, fidelity);
    else fidelity.complete = false;
  }
  return element;
}

function readMapType(reader: MessageReader, where: string, fidelity: Fidelity): ValueType {
  let key: DataType | undefined;
  let value: ValueType | null = null;
  while (reader.next()) {
    if (reader.field === 1) key = elementType(reader.int32(), where);
    else if (reader.field === 2) value = readType(reader.message('TypeProto'), where, fidelity);
    else fidelity.complete = false;
  }
  if (!key) throw new MalformedMessage(`${where}: a map type has no key type`);
  return { kind: 'map', key, value };
}

interface TensorTypeContext {
  readonly kind: 'tensor' | 'sparse-tensor';
  readonly where: string;
  readonly fidelity: Fidelity;
}

function readTensorType(reader: MessageReader, { kind, where, fidelity }: TensorTypeContext): ValueType {
  let dataType: DataType | null = null;
  let shape: Shape | null = null;
  while (reader.next()) {
    if (reader.field === 1) {
      const code = reader.int32();
      dataType = code === 0 ? null : elementType(code, where);
    } else if (reader.field === 2) shape = readShape(reader.message('TensorShapeProto'), fidelity);
    else fidelity.complete = false;
  }
  return { kind, dataType, shape };
}

function readShape(reader: MessageReader, fidelity: Fidelity): Shape {
  const shape: Dimension[] = [];
  while (reader.next()) {
    if (reader.field === 1) shape.push(readDimension(reader.message('TensorShapeProto.Dimension'), fidelity));
    else fidelity.complete = false;
  }
  return shape;
}

function readDimension(reader: MessageReader, fidelity: Fidelity): Dimension {
  let dimension: Dimension = null;
  while (reader.next()) {
    // Negative sizes stand for "unknown" in files of some exporters; onnxruntime reads them so.
    if (reader.field === 1) {
      const size = reader.size();
      dimension = size < 0 ? null : size;
    } else if (reader.field === 2) dimension = reader.string() || null;
    else fidelity.complete = false;
  }
  return dimension;
}

/** The bytes of a TypeProto. */
export function encodeValueType(type: ValueType): Uint8Array {
  return verbatim.get(type) ?? writeType(new BinaryWriter(), type).finish();
}

function writeType(writer: BinaryWriter, valueType: ValueType): BinaryWriter {
  switch (valueType.kind) {
    case 'tensor':
    case 'sparse-tensor':
      writer.tag(valueType.kind === 'tensor' ? 1 : 8, WireType.LengthDelimited).fork();
      if (valueType.dataType) writer.tag(1, WireType.Varint).int32(dataTypes[valueType.dataType].code);
      if (valueType.shape) writeShape(writer.tag(2, WireType.LengthDelimited).fork(), valueType.shape).join();
      writer.join();
      break;
    case 'sequence':
    case 'optional':
      writer.tag(valueType.kind === 'sequence' ? 4 : 9, WireType.LengthDelimited).fork();
      if (valueType.element) writeType(writer.tag(1, WireType.LengthDelimited).fork(), valueType.element).join();
      writer.join();
      break;
    case 'map':
      writer.tag(5, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.Varint).int32(dataTypes[valueType.key].code);
      if (valueType.value) writeType(writer.tag(2, WireType.LengthDelimited).fork(), valueType.value).join();
      writer.join();
      break;
    case 'opaque':
      writer.tag(7, WireType.LengthDelimited).bytes(valueType.bytes);
      break;
    default:
      valueType satisfies never;
  }
  if (valueType.denotation) writer.tag(6, WireType.LengthDelimited).string(valueType.denotation);
  return writer;
}

function writeShape(writer: BinaryWriter, shape: Shape): BinaryWriter {
  for (const dimension of shape) {
    writer.tag(1, WireType.LengthDelimited).fork();
    if (typeof dimension === 'number') writer.tag(1, WireType.Varint).int64(dimension);
    else if (dimension !== null) writer.tag(2, WireType.LengthDelimited).string(dimension);
    writer.join();
  }
  return writer;
}
