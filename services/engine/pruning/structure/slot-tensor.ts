/** Slot numbers over the axes of a value, moved as the operators of the model move its elements. */
import { elementCount } from '../../ir/index.js';
import { FIXED } from './slot-classes.js';

export interface SlotTensor {
  /** As many as the value has; 1 for an axis that the slots do not depend on, whatever its size. */
  readonly dims: readonly number[];
  /** Row-major. */
  readonly ids: Int32Array;
}

function stridesOf(dims: readonly number[]): number[] {
  const strides = dims.map(() => 1);
  for (let axis = dims.length - 2; axis >= 0; axis -= 1) strides[axis] = (strides[axis + 1] ?? 1) * (dims[axis + 1] ?? 1);
  return strides;
}

/** A tensor of `dims` whose element at each position is the one at `place` of it, given as coordinates. */
function filled(dims: readonly number[], idAt: (position: readonly number[]) => number): SlotTensor {
  const ids = new Int32Array(elementCount(dims));
  const position = dims.map(() => 0);
  for (let at = 0; at < ids.length; at += 1) {
    ids[at] = idAt(position);
    for (let axis = dims.length - 1; axis >= 0; axis -= 1) {
      position[axis] = (position[axis] ?? 0) + 1;
      if ((position[axis] ?? 0) < (dims[axis] ?? 1)) break;
      position[axis] = 0;
    }
  }
  return { dims, ids };
}

/** Reads `tensor` at coordinates; axes of size 1 are read at 0 whatever the coordinate. */
function reader({ dims, ids }: SlotTensor): (position: readonly number[]) => number {
  const strides = stridesOf(dims);
  return (position) => {
    let at = 0;
    for (let axis = 0; axis < dims.length; axis += 1) if ((dims[axis] ?? 1) > 1) at += (position[axis] ?? 0) * (strides[axis] ?? 1);
    return ids[at] ?? FIXED;
  };
}

/** Repeats along axes of size 1. `dims` has the rank of the tensor. */
export function spread(tensor: SlotTensor, dims: readonly number[]): SlotTensor {
  return tensor.dims.every((size, axis) => size === dims[axis]) ? tensor : filled(dims, reader(tensor));
}

/** The slots of one axis, in a tensor of `rank` axes. */
export function alongAxis(ids: Int32Array, axis: number, rank: number): SlotTensor {
  return { dims: Array.from({ length: rank }, (_, at) => (at === axis ? ids.length : 1)), ids };
}

/** Axis i of the tensor becomes axis `places[i]` of `rank` axes. */
export function placed(tensor: SlotTensor, places: readonly number[], rank: number): SlotTensor {
  const dims = Array.from({ length: rank }, (_, axis) => tensor.dims[places.indexOf(axis)] ?? 1);
  const read = reader(tensor);
  const position = tensor.dims.map(() => 0);
  return filled(dims, (there) => {
    for (let axis = 0; axis < position.length; axis += 1) position[axis] = there[places[axis] ?? 0] ?? 0;
    return read(position);
  });
}

/** Along `axis` the elements at `indices`; a negative index is one that never goes. */
export function picked(tensor: SlotTensor, axis: number, indices: readonly number[]): SlotTensor {
  const dims = tensor.dims.map((size, at) => (at === axis ? indices.length : size));
  const read = reader(tensor);
  const position = dims.map(() => 0);
  return filled(dims, (there) => {
    for (let at = 0; at < position.length; at += 1) position[at] = there[at] ?? 0;
    const index = indices[there[axis] ?? 0] ?? -1;
    position[axis] = index;
    return index < 0 ? FIXED : read(position);
  });
}

/** Puts tensors behind each other along `axis`; along the others their sizes are equal. */
export function joined(tensors: readonly SlotTensor[], axis: number): SlotTensor {
  const origin = tensors.flatMap((tensor) =>
    Array.from({ length: tensor.dims[axis] ?? 1 }, (_, index) => ({ read: reader(tensor), index })),
  );
  const dims = (tensors[0]?.dims ?? []).map((size, at) => (at === axis ? origin.length : size));
  const position = dims.map(() => 0);
  return filled(dims, (there) => {
    const from = origin[there[axis] ?? 0];
    for (let at = 0; at < position.length; at += 1) position[at] = there[at] ?? 0;
    position[axis] = from?.index ?? 0;
    return from?.read(position) ?? FIXED;
  });
}

/** Without the axes, along which the first element is read. */
export function withoutAxes({ dims, ids }: SlotTensor, axes: readonly number[]): SlotTensor {
  const left = dims.flatMap((_, axis) => (axes.includes(axis) ? [] : [axis]));
  const read = reader({ dims, ids });
  const position = dims.map(() => 0);
  return filled(
    left.map((axis) => dims[axis] ?? 1),
    (there) => {
      for (const [at, axis] of left.entries()) position[axis] = there[at] ?? 0;
      return read(position);
    },
  );
}

/** The first element along `axis` stands for all. */
export function collapsed(tensor: SlotTensor, axis: number): SlotTensor {
  return (tensor.dims[axis] ?? 1) === 1 ? tensor : picked(tensor, axis, [0]);
}

/** Calls `visit` with each pair of elements that meet when both are spread over each other. */
export function eachPair(left: SlotTensor, right: SlotTensor, visit: (left: number, right: number) => void): void {
  const dims = left.dims.map((size, axis) => Math.max(size, right.dims[axis] ?? 1));
  const a = spread(left, dims).ids;
  const b = spread(right, dims).ids;
  for (let at = 0; at < a.length; at += 1) visit(a[at] ?? FIXED, b[at] ?? FIXED);
}

/** Calls `visit` with the first element along `axis` and each of the others. */
export function eachAlong(tensor: SlotTensor, axis: number, visit: (first: number, other: number) => void): void {
  eachPair(collapsed(tensor, axis), tensor, visit);
}
