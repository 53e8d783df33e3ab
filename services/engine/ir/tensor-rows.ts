/** Tensors of one element type and of equal sizes but the first, one below the other. */
import { bytesInMemory, type Tensor } from './tensor.js';

/** What has no axis is the same for all. `tensors`: one at least. */
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
