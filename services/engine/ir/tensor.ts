/** Tensors of the IR: element types, shapes, and weights held as byte sources that may lie on disk. */

/** ONNX element types by name, with the number of TensorProto.DataType and the width in bits (onnx.proto3). */
export const dataTypes = {
  float32: { code: 1, bits: 32 },
  uint8: { code: 2, bits: 8 },
  int8: { code: 3, bits: 8 },
  uint16: { code: 4, bits: 16 },
  int16: { code: 5, bits: 16 },
  int32: { code: 6, bits: 32 },
  int64: { code: 7, bits: 64 },
  string: { code: 8, bits: 0 },
  bool: { code: 9, bits: 8 },
  float16: { code: 10, bits: 16 },
  float64: { code: 11, bits: 64 },
  uint32: { code: 12, bits: 32 },
  uint64: { code: 13, bits: 64 },
  complex64: { code: 14, bits: 64 },
  complex128: { code: 15, bits: 128 },
  bfloat16: { code: 16, bits: 16 },
  float8e4m3fn: { code: 17, bits: 8 },
  float8e4m3fnuz: { code: 18, bits: 8 },
  float8e5m2: { code: 19, bits: 8 },
  float8e5m2fnuz: { code: 20, bits: 8 },
  uint4: { code: 21, bits: 4 },
  int4: { code: 22, bits: 4 },
  float4e2m1: { code: 23, bits: 4 },
  float8e8m0: { code: 24, bits: 8 },
  uint2: { code: 25, bits: 2 },
  int2: { code: 26, bits: 2 },
} as const satisfies Record<string, { code: number; bits: number }>;

export type DataType = keyof typeof dataTypes;

/** One axis of a shape: a size, the name of a symbolic size, or null when nothing is known. */
export type Dimension = number | string | null;
export type Shape = readonly Dimension[];

/**
 * Where the bytes of a tensor are: in memory or a range of a file.
 * Weights are read when they are needed and can be copied to the output without being held.
 */
export interface ByteSource {
  readonly byteLength: number;
  /** All bytes; a view where possible. Do not write into it. */
  read(): Uint8Array;
  /** The same bytes in pieces of at most `sizeBytes`, for copying in bounded memory. */
  chunks(sizeBytes?: number): Iterable<Uint8Array>;
}

/** A constant tensor. `data` is little-endian, row-major, sub-byte types packed low bits first (TensorProto.raw_data). */
export interface Tensor {
  readonly dataType: DataType;
  readonly dims: readonly number[];
  readonly data: ByteSource;
  /** UTF-8 elements when dataType is string; `data` is empty then. */
  readonly strings?: readonly Uint8Array[];
  /** Name in the file of a tensor that is an attribute; an initializer is named by its Value. */
  readonly name?: string;
  readonly docString?: string;
  readonly metadata?: ReadonlyMap<string, string>;
  /** Protobuf fields that this IR does not know, byte for byte. */
  readonly unknownFields?: Uint8Array;
}

export function bytesInMemory(bytes: Uint8Array): ByteSource {
  return {
    byteLength: bytes.byteLength,
    read: () => bytes,
    *chunks(sizeBytes = 1 << 20) {
      for (let at = 0; at < bytes.byteLength; at += sizeBytes) yield bytes.subarray(at, Math.min(at + sizeBytes, bytes.byteLength));
    },
  };
}

/** Number of elements of a shape without symbolic sizes; 1 for a scalar. */
export function elementCount(dims: readonly number[]): number {
  return dims.reduce((product, size) => product * size, 1);
}

/** Bytes of raw_data for `count` elements: ceil(count * bits / 8). */
export function byteCount(dataType: DataType, count: number): number {
  return Math.ceil((count * dataTypes[dataType].bits) / 8);
}

const dataTypeByCode = new Map<number, DataType>(Object.entries(dataTypes).map(([name, { code }]) => [code, name as DataType]));

export function dataTypeFromCode(code: number): DataType | undefined {
  return dataTypeByCode.get(code);
}

const floatingTypes: ReadonlySet<DataType> = new Set(['float32', 'float64', 'float16', 'bfloat16']);

export function isFloating(dataType: DataType): boolean {
  return floatingTypes.has(dataType);
}

/** A view of `bytes` as the typed array that `Type` makes, copied only when the offset is not aligned. */
function viewAs<T>(
  bytes: Uint8Array,
  Type: { new (buffer: ArrayBufferLike, byteOffset: number, length: number): T; BYTES_PER_ELEMENT: number },
): T {
  const aligned = bytes.byteOffset % Type.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new Type(aligned.buffer, aligned.byteOffset, Math.floor(aligned.byteLength / Type.BYTES_PER_ELEMENT));
}

/** The elements of a float32 tensor; throws TypeError for another type. */
export function float32Values(tensor: Tensor): Float32Array {
  if (tensor.dataType !== 'float32') throw new TypeError(`float32Values: the tensor is ${tensor.dataType}`);
  return viewAs(tensor.data.read(), Float32Array);
}

/** The elements of an integer or bool tensor of at most 64 bits as JavaScript numbers; values beyond 2^53 lose their low bits. */
export function integerValues(tensor: Tensor): number[] {
  const bytes = tensor.data.read();
  switch (tensor.dataType) {
    case 'int64':
      return Array.from(viewAs(bytes, BigInt64Array), Number);
    case 'uint64':
      return Array.from(viewAs(bytes, BigUint64Array), Number);
    case 'int32':
      return Array.from(viewAs(bytes, Int32Array));
    case 'uint32':
      return Array.from(viewAs(bytes, Uint32Array));
    case 'int16':
      return Array.from(viewAs(bytes, Int16Array));
    case 'uint16':
      return Array.from(viewAs(bytes, Uint16Array));
    case 'int8':
      return Array.from(viewAs(bytes, Int8Array));
    case 'uint8':
    case 'bool':
      return Array.from(bytes);
    default:
      throw new TypeError(`integerValues: the tensor is ${tensor.dataType}`);
  }
}

type NumericArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** A tensor over the memory of a typed array (no copy). The caller names the element type, as Uint16Array may hold float16. */
export function tensorOf(dataType: DataType, dims: readonly number[], values: NumericArray): Tensor {
  const expected = byteCount(dataType, elementCount(dims));
  if (values.byteLength !== expected)
    throw new RangeError(`tensorOf: ${dataType}[${dims}] needs ${expected} bytes, got ${values.byteLength}`);
  return { dataType, dims, data: bytesInMemory(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)) };
}

export function int64Tensor(dims: readonly number[], values: readonly (number | bigint)[]): Tensor {
  return tensorOf('int64', dims, BigInt64Array.from(values, BigInt));
}

export function float32Tensor(dims: readonly number[], values: ArrayLike<number>): Tensor {
  return tensorOf('float32', dims, values instanceof Float32Array ? values : Float32Array.from(values));
}

/** All values, one part after the other, in memory of their own. */
export function concatenated(parts: readonly Float32Array[]): Float32Array {
  const joined = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
