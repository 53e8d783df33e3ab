/** Copies what remains of a constant. */
import { byteCount, bytesInMemory, type DataType, dataTypes, elementCount, type Tensor } from '../../ir/index.js';
import { keptRows } from './kept-indices.js';
import type { UnitTrack } from './structure-layout.js';

/** `tensor` without the slices of the removed units; itself when none of its slices goes. */
export function keptElements(tensor: Tensor, tracks: readonly UnitTrack[], removed: ReadonlySet<number>): Tensor {
  let result = tensor;
  // Rows are counted in the original constant: what goes row by row goes first.
  for (const track of [...tracks].sort((a, b) => b.rows.length - a.rows.length)) {
    const lists = keptRows(track, removed);
    if (lists.every((list) => list.length === (track.dims[track.axis] ?? 1))) continue;
    result = keepAlong(result, track, lists);
  }
  return result;
}

function keepAlong(tensor: Tensor, { axis, rows, dims: trackDims }: UnitTrack, lists: readonly (readonly number[])[]): Tensor {
  const dims = tensor.dims.map((size, at) => (at === axis ? (lists[0]?.length ?? 0) : size));
  const inner = elementCount(tensor.dims.slice(axis + 1));
  const bytes = new Uint8Array(byteCount(tensor.dataType, elementCount(dims)));
  const [from, to] = [wordsOf(tensor.data.read(), tensor.dataType), wordsOf(bytes, tensor.dataType)];
  const perElement = to.length / elementCount(dims);
  // Rows behind the axis stand in the inner part, element by element.
  const step = rows.some((row) => row > axis) ? 1 : inner;
  const run = step * perElement;
  const rowAt = rowReader(tensor.dims, rows, trackDims);
  const outer = elementCount(tensor.dims.slice(0, axis));
  const [size, kept] = [tensor.dims[axis] ?? 1, dims[axis] ?? 0];
  for (let before = 0; before < outer; before += 1) {
    for (let behind = 0; behind < inner; behind += step) {
      const list = lists[rows.length === 0 ? 0 : rowAt(before, behind, axis)] ?? [];
      for (let at = 0; at < kept; at += 1) {
        const source = ((before * size + (list[at] ?? 0)) * inner + behind) * perElement;
        const target = ((before * kept + at) * inner + behind) * perElement;
        if (run === 1) to[target] = from[source] ?? 0;
        else to.set(from.subarray(source, source + run), target);
      }
    }
  }
  return { ...tensor, dims, data: bytesInMemory(bytes) };
}

/** The bytes in words of at most 4 bytes, whatever they mean: as floats, some patterns of bits would not survive. */
function wordsOf(bytes: Uint8Array, dataType: DataType): Uint8Array | Uint16Array | Uint32Array {
  const width = Math.min(4, dataTypes[dataType].bits / 8);
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % width === 0 ? bytes : bytes.slice();
  if (width === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  return width === 2 ? new Uint16Array(buffer, byteOffset, byteLength / 2) : bytes;
}

/** Number of the row at a place before and behind the axis: positions of the rows in the order of the track, the last fastest. */
function rowReader(dims: readonly number[], rows: readonly number[], trackDims: readonly number[]) {
  return (before: number, behind: number, axis: number): number => {
    let row = 0;
    for (const each of rows) {
      const isBefore = each < axis;
      const stride = elementCount(isBefore ? dims.slice(each + 1, axis) : dims.slice(each + 1));
      const position = Math.floor((isBefore ? before : behind) / stride) % (dims[each] ?? 1);
      row = row * (trackDims[each] ?? 1) + position;
    }
    return row;
  };
}
