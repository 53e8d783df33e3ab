/** Copies what remains of a constant. */
import { byteCount, bytesInMemory, dataTypes, elementCount, type Tensor } from '../../ir/index.js';
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
  const width = dataTypes[tensor.dataType].bits / 8;
  const dims = tensor.dims.map((size, at) => (at === axis ? (lists[0]?.length ?? 0) : size));
  const inner = elementCount(tensor.dims.slice(axis + 1));
  const from = tensor.data.read();
  const to = new Uint8Array(byteCount(tensor.dataType, elementCount(dims)));
  // Rows behind the axis stand in the inner part, element by element.
  const step = rows.some((row) => row > axis) ? 1 : inner;
  const rowAt = rowReader(tensor.dims, rows, trackDims);
  const outer = elementCount(tensor.dims.slice(0, axis));
  const [size, kept] = [tensor.dims[axis] ?? 1, dims[axis] ?? 0];
  for (let before = 0; before < outer; before += 1) {
    for (let behind = 0; behind < inner; behind += step) {
      const list = lists[rowAt(before, behind, axis)] ?? [];
      for (const [at, index] of list.entries()) {
        const source = ((before * size + index) * inner + behind) * width;
        to.set(from.subarray(source, source + step * width), ((before * kept + at) * inner + behind) * width);
      }
    }
  }
  return { ...tensor, dims, data: bytesInMemory(to) };
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
