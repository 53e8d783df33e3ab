/** The operators that take the place of one layer: their shapes, what they cost, and the one weight that they amount to. */
import { elementCount } from '../ir/index.js';
import { product } from './dense-products.js';

/** A linear operator without bias: [out, in / group] of a product, [out, in / group, ...kernel] of a convolution. */
export interface FactorShape {
  readonly dims: readonly number[];
  readonly group: number;
  /** Axes of the window along which it walks as the layer does (strides, pads, dilations); along the others it takes single positions. */
  readonly walk: readonly number[];
}

export interface Factor extends FactorShape {
  /** Row-major. */
  readonly values: Float32Array;
}

export interface LayerCost {
  readonly macs: number;
  readonly parameters: number;
}

/** Positions at which a layer is computed in one run. */
export interface LayerPositions {
  /** Rows of a product, images of a convolution. */
  readonly rows: number;
  /** Sizes of the input and output of a convolution along its axes; none for a product. */
  readonly input: readonly number[];
  readonly output: readonly number[];
}

/** Multiply-accumulates and weights of the factors in turn: each weight is used once for every output position of its factor. */
export function costOf(shapes: readonly FactorShape[], { rows, input, output }: LayerPositions): LayerCost {
  const sizes = [...input];
  let [macs, parameters] = [0, 0];
  for (const { dims, walk } of shapes) {
    for (const axis of walk) sizes[axis] = output[axis] ?? 1;
    parameters += elementCount(dims);
    macs += elementCount(dims) * rows * elementCount(sizes);
  }
  return { macs, parameters };
}

/** A weight [outputs, inputs, ...kernel]. */
interface Composite {
  readonly outputs: number;
  readonly inputs: number;
  readonly kernel: readonly number[];
  readonly values: Float64Array;
}

/**
 * The weight [out, in * positions] of one operator that computes what `factors` compute in turn. No two of them walk along the
 * same axis, and pads are zeros without a bias before them, so the sum over windows is one window:
 *   W[o, c, k] = sum over i of F[o, i, k_2] E[i, c, k_1]  with k = (k_1, k_2) by axis.
 */
export function composed(factors: readonly Factor[]): Float64Array {
  const [first, ...others] = factors;
  if (!first) throw new RangeError('composed: no factors');
  const [outputs = 1, inputs = 1, ...kernel] = first.dims;
  return others.reduce(behind, { outputs, inputs, kernel, values: Float64Array.from(first.values) }).values;
}

/** [D, in * positions]: what the last factor is given at each of its D weights per output, as sums over the window of the layer. */
export function inputsOfLast(factors: readonly Factor[]): Float64Array {
  const last = factors.at(-1);
  if (!last || factors.length < 2) throw new RangeError('inputsOfLast: a layer has at least two factors');
  const depth = elementCount(last.dims.slice(1));
  const copies = new Float32Array(depth * depth);
  for (let at = 0; at < depth; at += 1) copies[at * depth + at] = 1;
  return composed([...factors.slice(0, -1), { ...last, dims: [depth, ...last.dims.slice(1)], values: copies }]);
}

function behind(before: Composite, factor: Factor): Composite {
  const [outputs = 1, perGroup = 1, ...own] = factor.dims;
  const kernel = own.map((size, axis) => Math.max(size, before.kernel[axis] ?? 1));
  const [inner, outer] = [elementCount(before.kernel), elementCount(own)];
  const places = positionsOf(before.kernel, kernel).map((p) => positionsOf(own, kernel).map((q) => p + q));
  const size = elementCount(kernel);
  if (outer === 1 && factor.group === 1) {
    const values = product(factor.values, before.values, { rows: outputs, inner: perGroup, columns: before.inputs * inner });
    return { outputs, inputs: before.inputs, kernel, values };
  }
  const values = new Float64Array(outputs * before.inputs * size);
  for (let o = 0; o < outputs; o += 1) {
    const group = Math.floor((o * factor.group) / outputs);
    for (let i = 0; i < perGroup; i += 1) {
      const from = (group * perGroup + i) * before.inputs * inner;
      for (let q = 0; q < outer; q += 1) {
        const weight = factor.values[(o * perGroup + i) * outer + q] ?? 0;
        for (let c = 0; c < before.inputs; c += 1) {
          const into = (o * before.inputs + c) * size;
          for (let p = 0; p < inner; p += 1) {
            const place = into + (places[p]?.[q] ?? 0);
            values[place] = (values[place] ?? 0) + weight * (before.values[from + c * inner + p] ?? 0);
          }
        }
      }
    }
  }
  return { outputs, inputs: before.inputs, kernel, values };
}

/** Offsets in `whole` of the positions of `part`, which has size 1 along the axes it does not walk. */
function positionsOf(part: readonly number[], whole: readonly number[]): number[] {
  let offsets = [0];
  for (const [axis, size] of part.entries()) {
    const stride = elementCount(whole.slice(axis + 1));
    offsets = offsets.flatMap((offset) => Array.from({ length: size }, (_, at) => offset + at * stride));
  }
  return offsets;
}
