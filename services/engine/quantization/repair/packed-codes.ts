/** Codes of 2, 4, 8 or 32 bits as single elements, and back: sub-byte types are packed low bits first. */
import { byteCount, bytesInMemory, dataTypes, elementCount, type Tensor } from '../../ir/index.js';

/** Bit patterns of the elements, one each. */
export function unpackCodes(tensor: Tensor): Uint32Array {
  const { bits } = dataTypes[tensor.dataType];
  const bytes = tensor.data.read();
  return Uint32Array.from({ length: elementCount(tensor.dims) }, (_, at) => elementBits(bytes, at, bits));
}

function elementBits(bytes: Uint8Array, at: number, bits: number): number {
  if (bits < 8) return ((bytes[(at * bits) >> 3] ?? 0) >> ((at * bits) & 7)) & ((1 << bits) - 1);
  let value = 0;
  for (let byte = bits / 8 - 1; byte >= 0; byte -= 1) value = value * 256 + (bytes[(at * bits) / 8 + byte] ?? 0);
  return value;
}

export function packCodes(codes: Uint32Array, { dataType }: Pick<Tensor, 'dataType'>, dims: readonly number[]): Tensor {
  const { bits } = dataTypes[dataType];
  const bytes = new Uint8Array(byteCount(dataType, codes.length));
  for (const [at, code] of codes.entries()) {
    if (bits < 8) bytes[(at * bits) >> 3] = (bytes[(at * bits) >> 3] ?? 0) | (code << ((at * bits) & 7));
    else for (let byte = 0; byte < bits / 8; byte += 1) bytes[(at * bits) / 8 + byte] = Math.floor(code / 256 ** byte) % 256;
  }
  return { dataType, dims, data: bytesInMemory(bytes) };
}

/** `tensor` with axis a of the result being axis order[a] of the source, for any element type of 2 to 32 bits. */
export function transposed(tensor: Tensor, order: readonly number[]): Tensor {
  const { dims } = tensor;
  const strides = dims.map((_, axis) => elementCount(dims.slice(axis + 1)));
  const target = order.map((axis) => dims[axis] ?? 1);
  const steps = order.map((axis) => strides[axis] ?? 0);
  const source = unpackCodes(tensor);
  const result = new Uint32Array(source.length);
  const index = target.map(() => 0);
  for (let at = 0; at < result.length; at += 1) {
    result[at] = source[index.reduce((sum, position, axis) => sum + position * (steps[axis] ?? 0), 0)] ?? 0;
    for (let axis = target.length - 1; axis >= 0; axis -= 1) {
      index[axis] = ((index[axis] ?? 0) + 1) % (target[axis] ?? 1);
      if (index[axis] !== 0) break;
    }
  }
  return packCodes(result, tensor, target);
}
