/** CP: a convolution as 1 x 1, one depthwise convolution along each axis, and 1 x 1. */

import { elementCount } from '../ir/index.js';
import { choleskyInverseUpper } from '../normal-equations/linear-algebra.js';
import { product, transposed } from './dense-products.js';
import { type FormLayer, filled, multiplesUpTo, type RankForm, type Ranks } from './rank-form.js';

const STEPS = 4;
/** Larger weights would take minutes. */
const ELEMENTS_MAX = 2 ** 18;
const SWEEPS_MAX = 60;
/** A sweep that wins a smaller part of the energy is the last one. */
const GAIN_MIN = 1e-5;
/** Ridge of each least-squares step, against components that grow and cancel each other. */
const RIDGE = 1e-6;

/**
 * W[m, c, y, x] = sum over r of B[m, r] H[y, r] V[x, r] A[c, r] (Lebedev et al. 2015), found by alternating least squares. Without
 * fine-tuning it loses more than the other forms, and depthwise convolutions are bound by memory: measure.
 * null for windows of one position, and for large weights.
 */
export function cpForm({ rows, channels, inputs, kernel }: FormLayer, multiple: number): RankForm | null {
  const positions = elementCount(kernel);
  if (positions === 1 || rows.length > ELEMENTS_MAX) return null;
  const axes = [...kernel.keys()].filter((axis) => (kernel[axis] ?? 1) > 1);
  // Strides and pads along an axis of one position are taken with the first walk.
  const single = [...kernel.keys()].filter((axis) => !axes.includes(axis));
  const sides = inputs + channels + axes.reduce((sum, axis) => sum + (kernel[axis] ?? 1), 0);
  const ladder = multiplesUpTo(Math.ceil(rows.length / sides) - 1, multiple, STEPS).map((rank) => [rank]);
  const along = (axis: number): number[] => kernel.map((size, each) => (each === axis ? size : 1));
  const shapes = ([rank = 0]: Ranks) => [
    { dims: [rank, inputs, ...filled(kernel, 1)], group: 1, walk: [] },
    ...axes.map((axis, at) => ({ dims: [rank, 1, ...along(axis)], group: rank, walk: at === 0 ? [axis, ...single] : [axis] })),
    { dims: [channels, rank, ...filled(kernel, 1)], group: 1, walk: [] },
  ];
  return {
    name: 'cp',
    full: [Math.max(channels, inputs * positions)],
    ladder,
    shapes,
    factors(ranks) {
      const [rank = 0] = ranks;
      const dims = [channels, inputs, ...axes.map((axis) => kernel[axis] ?? 1)];
      const [outputs = new Float64Array(), ...others] = alternatingLeastSquares({ tensor: rows, dims }, rank);
      const values = [...others.map((side, at) => transposed(side, dims[at + 1] ?? 0, rank)), outputs];
      return shapes(ranks).map((shape, at) => ({ ...shape, values: Float32Array.from(values[at] ?? []) }));
    },
  };
}

interface Tensor {
  /** Row-major. */
  readonly tensor: Float64Array;
  readonly dims: readonly number[];
}

/**
 * The sides [size, rank] of sum over r of the outer products of their columns. In turn for each side n:
 *   S_n = X_(n) K (K^T K + ridge)^-1, K the Khatri-Rao product of the others, K^T K the elementwise product of their S^T S.
 */
export function alternatingLeastSquares({ tensor, dims }: Tensor, rank: number): Float64Array[] {
  const sides = dims.map((size, mode) => startingSide(size * rank, mode));
  const total = tensor.reduce((sum, value) => sum + value * value, 0);
  let before = 0;
  for (let sweep = 0; sweep < SWEEPS_MAX; sweep += 1) {
    let kept = 0;
    for (const [mode, size] of dims.entries()) {
      for (const other of sides.keys()) if (other !== mode) toUnitColumns(sides, { from: other, to: mode, rank });
      const normal = new Float64Array(rank * rank).fill(1);
      for (const [other, side] of sides.entries()) {
        if (other === mode) continue;
        const square = product(transposed(side, dims[other] ?? 0, rank), side, { rows: rank, inner: dims[other] ?? 0, columns: rank });
        for (const [at, value] of square.entries()) normal[at] = (normal[at] ?? 0) * value;
      }
      for (let r = 0; r < rank; r += 1) normal[r * rank + r] = (normal[r * rank + r] ?? 0) + RIDGE;
      const inverse = choleskyInverseUpper(normal, rank);
      if (!inverse) return sides;
      const mixed = contracted({ tensor, dims }, { sides, mode, rank });
      const half = product(mixed, transposed(inverse, rank, rank), { rows: size, inner: rank, columns: rank });
      const solved = product(half, inverse, { rows: size, inner: rank, columns: rank });
      sides[mode] = solved;
      kept = solved.reduce((sum, value, at) => sum + value * (mixed[at] ?? 0), 0);
    }
    if (kept - before <= GAIN_MIN * total) break;
    before = kept;
  }
  return sides;
}

/** X_(mode) K, [size of the mode, rank]: the tensor multiplied with all other sides. */
function contracted(
  { tensor, dims }: Tensor,
  { sides, mode, rank }: { sides: readonly Float64Array[]; mode: number; rank: number },
): Float64Array {
  const result = new Float64Array((dims[mode] ?? 0) * rank);
  const index = dims.map(() => 0);
  const factors = new Float64Array(rank);
  for (const value of tensor) {
    factors.fill(value);
    for (const [other, side] of sides.entries()) {
      if (other === mode) continue;
      const row = (index[other] ?? 0) * rank;
      for (let r = 0; r < rank; r += 1) factors[r] = (factors[r] ?? 0) * (side[row + r] ?? 0);
    }
    const into = (index[mode] ?? 0) * rank;
    for (let r = 0; r < rank; r += 1) result[into + r] = (result[into + r] ?? 0) + (factors[r] ?? 0);
    advance(index, dims);
  }
  return result;
}

/** The next index in row-major order. */
function advance(index: number[], dims: readonly number[]): void {
  for (let axis = dims.length - 1; axis >= 0; axis -= 1) {
    const next = (index[axis] ?? 0) + 1;
    if (next < (dims[axis] ?? 1)) {
      index[axis] = next;
      return;
    }
    index[axis] = 0;
  }
}

/** Columns of one side get length 1, their lengths go to another: what is solved for carries all sizes, so the ridge weighs alike. */
function toUnitColumns(sides: Float64Array[], { from, to, rank }: { from: number; to: number; rank: number }): void {
  const [side, target] = [sides[from], sides[to]];
  if (!side || !target) return;
  for (let r = 0; r < rank; r += 1) {
    let square = 0;
    for (let at = r; at < side.length; at += rank) square += (side[at] ?? 0) ** 2;
    const length = Math.sqrt(square);
    if (!(length > 0)) continue;
    for (let at = r; at < side.length; at += rank) side[at] = (side[at] ?? 0) / length;
    for (let at = r; at < target.length; at += rank) target[at] = (target[at] ?? 0) * length;
  }
}

/** Numbers in [-1, 1) that are the same in every run (linear congruential generator of Numerical Recipes). */
function startingSide(count: number, seed: number): Float64Array {
  let state = (Math.imul(seed + 1, 2_654_435_761) + 12_345) >>> 0;
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}
