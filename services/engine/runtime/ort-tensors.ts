/** IR tensors to onnxruntime tensors and back, without copies where the memory is aligned. */
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { bytesInMemory, type DataType, type Tensor } from '../ir/index.js';

/** The element types that onnxruntime-node can take and give at the border of a graph, with the array that carries them. */
const exchangeArrays = {
  float32: Float32Array,
  float64: Float64Array,
  /** IEEE half bits. */
  float16: Uint16Array,
  int8: Int8Array,
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  int32: Int32Array,
  uint32: Uint32Array,
  int64: BigInt64Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const;

type ExchangedType = keyof typeof exchangeArrays | 'string';

export function isExchanged(dataType: DataType): dataType is ExchangedType {
  return dataType === 'string' || Object.hasOwn(exchangeArrays, dataType);
}

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Throws TypeError for element types that onnxruntime-node cannot carry (bfloat16, 4 bit, complex, float8). */
export function toOrtTensor(tensor: Tensor): OrtTensor {
  const { dataType, dims } = tensor;
  if (!isExchanged(dataType)) throw new TypeError(`onnxruntime-node cannot carry ${dataType} tensors`);
  if (dataType === 'string') {
    return new OrtTensor(
      'string',
      (tensor.strings ?? []).map((text) => decoder.decode(text)),
      dims,
    );
  }
  const ArrayType = exchangeArrays[dataType];
  const bytes = tensor.data.read();
  const aligned =
    bytes.byteOffset % ArrayType.BYTES_PER_ELEMENT === 0 && bytes.buffer instanceof ArrayBuffer ? bytes : Uint8Array.from(bytes);
  const elements = new ArrayType(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / ArrayType.BYTES_PER_ELEMENT);
  return new OrtTensor(dataType, elements, dims);
}

/** A view of the runtime's output; the memory belongs to JavaScript. */
export function fromOrtTensor(tensor: OrtTensor): Tensor {
  const dataType = tensor.type as DataType;
  const dims = tensor.dims;
  if (dataType === 'string') {
    return {
      dataType,
      dims,
      data: bytesInMemory(new Uint8Array()),
      strings: (tensor.data as string[]).map((text) => encoder.encode(text)),
    };
  }
  const { buffer, byteOffset, byteLength } = tensor.data as Uint8Array;
  return { dataType, dims, data: bytesInMemory(new Uint8Array(buffer, byteOffset, byteLength)) };
}
