/** CP: a convolution as 1 x 1, one depthwise convolution along each axis, and 1 x 1. */

import { elementCount } from '../ir/index.js';
import { choleskyInverseUpper } from '../normal-equations/linear-algebra.js';
import { innerProduct, product, productOfRows, transposed } from './dense-products.js';
import { type FormLayer, filled, multiplesUpTo, type RankForm, type Ranks } from './rank-form.js';

const STEPS = 4;
/** Larger weights would take minutes. */
const ELEMENTS_MAX = 2 ** 17;
const SWEEPS_MAX = 40;
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
function alternatingLeastSquares({ tensor, dims }: Tensor, rank: number): Float64Array[] {
  const sides = dims.map((size, mode) => startingSide(size * rank, mode));
  const unfolded = dims.map((_, mode) => unfold({ tensor, dims }, mode));
  const total = innerProduct(tensor, tensor);
  let before = 0;
  for (let sweep = 0; sweep < SWEEPS_MAX; sweep += 1) {
    let kept = 0;
    for (const [mode, size] of dims.entries()) {
      for (const other of sides.keys()) if (other !== mode) toUnitColumns(sides, { from: other, to: mode, rank });
      const others = sides.filter((_, other) => other !== mode);
      const inverse = choleskyInverseUpper(normalMatrix(others, rank), rank);
      if (!inverse) return sides;
      const inner = tensor.length / size;
      const mixed = product(unfolded[mode] ?? [], khatriRao(others, rank), { rows: size, inner, columns: rank });
      const half = productOfRows(mixed, inverse, { rows: size, inner: rank, columns: rank });
      const solved = product(half, inverse, { rows: size, inner: rank, columns: rank });
      sides[mode] = solved;
      kept = innerProduct(solved, mixed);
    }
    if (kept - before <= GAIN_MIN * total) break;
    before = kept;
  }
  return sides;
}

/** The elementwise product of S^T S over the sides, [rank, rank], with the ridge. */
function normalMatrix(sides: readonly Float64Array[], rank: number): Float64Array {
  const normal = new Float64Array(rank * rank).fill(1);
  for (const side of sides) {
    const rows = side.length / rank;
    const square = product(transposed(side, rows, rank), side, { rows: rank, inner: rows, columns: rank });
    for (let at = 0; at < normal.length; at += 1) normal[at] = (normal[at] ?? 0) * (square[at] ?? 0);
  }
  for (let r = 0; r < rank; r += 1) normal[r * rank + r] = (normal[r * rank + r] ?? 0) + RIDGE;
  return normal;
}

/** [product of the sizes, rank]: the products of one row of each side, the last side running fastest. */
function khatriRao(sides: readonly Float64Array[], rank: number): Float64Array {
  return sides.reduce((left, right) => {
    const result = new Float64Array((left.length / rank) * right.length);
    let at = 0;
    for (let outer = 0; outer < left.length; outer += rank) {
      for (let inner = 0; inner < right.length; inner += rank) {
        for (let r = 0; r < rank; r += 1, at += 1) result[at] = (left[outer + r] ?? 0) * (right[inner + r] ?? 0);
      }
    }
    return result;
  }, new Float64Array(rank).fill(1));
}

/** X_(mode): [size of the mode, all others in their order]. */
function unfold({ tensor, dims }: Tensor, mode: number): Float64Array {
  const size = dims[mode] ?? 1;
  const behind = dims.slice(mode + 1).reduce((count, each) => count * each, 1);
  const result = new Float64Array(tensor.length);
  for (let at = 0; at < tensor.length; at += 1) {
    const [before, own, after] = [Math.floor(at / (size * behind)), Math.floor(at / behind) % size, at % behind];
    result[own * (tensor.length / size) + before * behind + after] = tensor[at] ?? 0;
  }
  return result;
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
