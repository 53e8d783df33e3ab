/** A tensor as rows along its first axis: joined, and divided again. */
import { bytesInMemory, type Tensor } from './tensor.js';

/** One below the other, of one element type and of equal sizes but the first; what has no axis is the same for all. `tensors`: one at least. */
export function joinRows(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors as readonly [Tensor];
  if (first.dims.length === 0) return first;
  const parts = tensors.map(({ data }) => data.read());
  const bytes = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  const rows = tensors.reduce((sum, { dims }) => sum + (dims[0] ?? 1), 0);
  return { ...first, dims: [rows, ...first.dims.slice(1)], data: bytesInMemory(bytes) };
}

/** Part `part` of `parts` equal ones, counted from 0: a view. */
export function partOfRows({ dataType, dims, data }: Tensor, part: number, parts: number): Tensor {
  const bytes = data.read();
  const size = bytes.byteLength / parts;
  const rows = (dims[0] ?? 1) / parts;
  return { dataType, dims: [rows, ...dims.slice(1)], data: bytesInMemory(bytes.subarray(part * size, (part + 1) * size)) };
}
