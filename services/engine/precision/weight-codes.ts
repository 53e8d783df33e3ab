/** Weights of one layer in few bits: one scale for all of them or one for each output, codes chosen on what the layer multiplies. */

import { float32Values } from '../ir/index.js';
import { channelCount, channelDepth, fromRows, toRows } from '../layers/channel-layout.js';
import { gptqRound } from '../quantization/gptq.js';
import { powersAround, type ScaleChoice, weightCode, weightLimit } from './narrow-codes.js';
import type { LowerableWeight } from './network-tensors.js';

export type WeightGranularity = 'tensor' | 'channel';

/** Sums of x x^T over the inputs of a layer, [groups, K, K]; any positive factor is allowed. */
export interface InputProducts {
  readonly gram: Float64Array;
  readonly groups: number;
  /** How many x were summed. */
  readonly rows: number;
}

export interface WeightCodes {
  readonly bits: number;
  /** [outputs, K]. */
  readonly codes: Int32Array;
  /** One, or one per output. */
  readonly scales: Float32Array;
}

interface Matrix {
  /** [outputs, K]. */
  readonly rows: Float64Array;
  readonly outputs: number;
  readonly depth: number;
}

/** Shares of the largest scale that are compared, then twice closer ones around the best. */
const SHARES = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];
const REFINEMENTS = [0.05, 0.025];
/** With more codes the step is too small for errors of rounding to matter. */
const FITTED_BITS_MAX = 10;
/** Share of the mean of the diagonal that is added to it: few rows for many inputs say little of those to come. */
const DAMPING = { least: 1e-3, most: 0.1, ofDepthPerRow: 0.02 } as const;

export function matrixOf({ constant, form }: LowerableWeight): Matrix {
  return {
    rows: toRows(float32Values(constant.tensor), form.layout),
    outputs: channelCount(form.layout),
    depth: channelDepth(form.layout),
  };
}

export interface WeightRounding {
  readonly granularity: WeightGranularity;
  readonly products: InputProducts | undefined;
  /** Default any. */
  readonly scales?: ScaleChoice;
}

/**
 * Codes with the least E|W x - W' x|^2: the scale by search with nearest codes, each error weighed by the energy of its input, then codes by GPTQ (arXiv 2210.17323), which
 * lets later columns make good what earlier ones lose. Without products of inputs: least squared error of the weights.
 */
export function roundWeights(matrix: Matrix, bits: number, { granularity, products, scales: choice = 'any' }: WeightRounding): WeightCodes {
  const known = bits <= FITTED_BITS_MAX ? products : undefined;
  const search = { bits, products: known, choice };
  const scales = granularity === 'channel' ? channelScales(matrix, search) : Float32Array.of(tensorScale(matrix, search));
  const scaleOf = (row: number): number => scales[scales.length === 1 ? 0 : row] ?? 1;
  if (!known) {
    const codes = Int32Array.from(matrix.rows, (value, at) => weightCode(value, scaleOf(Math.floor(at / matrix.depth)), bits));
    return { bits, codes, scales };
  }
  const codes = new Int32Array(matrix.rows.length);
  const perGroup = matrix.outputs / known.groups;
  for (let group = 0; group < known.groups; group += 1) {
    const from = group * perGroup;
    const rounded = gptqRound({
      rows: perGroup,
      depth: matrix.depth,
      weights: matrix.rows.subarray(from * matrix.depth, (from + perGroup) * matrix.depth),
      hessian: productsOf(known, group, matrix.depth),
      damping: Math.min(DAMPING.most, Math.max(DAMPING.least, (DAMPING.ofDepthPerRow * matrix.depth) / known.rows)),
      actOrder: true,
      quantize(value, row) {
        const scale = scaleOf(from + row);
        const code = weightCode(value, scale, bits);
        return { code, value: code * scale };
      },
    });
    codes.set(rounded, from * matrix.depth);
  }
  return { bits, codes, scales };
}

/** The weights that the codes stand for, [outputs, K]. */
export function realRows({ codes, scales }: WeightCodes, depth: number): Float64Array {
  return Float64Array.from(codes, (code, at) => code * (scales[scales.length === 1 ? 0 : Math.floor(at / depth)] ?? 1));
}

/** The same in the order of the constant. */
export function realWeights(codes: WeightCodes, { form }: LowerableWeight): Float32Array {
  return fromRows(realRows(codes, channelDepth(form.layout)), form.layout, Float32Array);
}

function productsOf({ gram }: InputProducts, group: number, depth: number): Float64Array {
  return gram.subarray(group * depth ** 2, (group + 1) * depth ** 2);
}

interface ScaleSearch {
  readonly bits: number;
  readonly products: InputProducts | undefined;
  readonly choice: ScaleChoice;
}

function channelScales(matrix: Matrix, search: ScaleSearch): Float32Array {
  const { products } = search;
  const { rows, outputs, depth } = matrix;
  return Float32Array.from({ length: outputs }, (_, output) => {
    const row = { rows: rows.subarray(output * depth, (output + 1) * depth), outputs: 1, depth };
    const group = products ? Math.floor((output * products.groups) / outputs) : 0;
    return tensorScale(row, { ...search, products: products && { ...products, gram: productsOf(products, group, depth), groups: 1 } });
  });
}

function tensorScale(matrix: Matrix, { bits, products, choice }: ScaleSearch): number {
  const largest = matrix.rows.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / weightLimit(bits);
  if (!(Math.fround(largest) >= 2 ** -126)) return 1;
  if (choice === 'powers-of-two') return bestPower(matrix, { largest, bits, products });
  if (bits > FITTED_BITS_MAX) return Math.fround(largest);
  let best = { share: 1, error: Number.POSITIVE_INFINITY };
  const attempt = (share: number): void => {
    const error = errorAt(matrix, { scale: Math.fround(largest * share), bits, products });
    if (error < best.error) best = { share, error };
  };
  for (const share of SHARES) attempt(share);
  for (const step of REFINEMENTS) {
    const { share } = best;
    attempt(share - step);
    attempt(share + step);
  }
  return Math.fround(largest * best.share);
}

/** Of the power of two that clips nothing and the two below it. */
function bestPower(
  matrix: Matrix,
  { largest, bits, products }: { largest: number; bits: number; products: InputProducts | undefined },
): number {
  const whole = powersAround(largest).at(-1) ?? 1;
  const candidates = [whole, whole / 2, whole / 4].map((scale) => ({ scale, error: errorAt(matrix, { scale, bits, products }) }));
  return candidates.reduce((best, each) => (each.error < best.error ? each : best)).scale;
}

/** sum x_k^2: what an error of the weight k of an output is multiplied with, as if inputs were not correlated. */
function energyOf(
  { gram, groups }: InputProducts,
  { output, outputs, k, depth }: { output: number; outputs: number; k: number; depth: number },
): number {
  const group = Math.floor((output * groups) / outputs);
  return gram[(group * depth + k) * depth + k] ?? 0;
}

function errorAt(
  { rows, outputs, depth }: Matrix,
  { scale, bits, products }: { scale: number; bits: number; products: InputProducts | undefined },
): number {
  let sum = 0;
  for (let at = 0; at < rows.length; at += 1) {
    const value = rows[at] ?? 0;
    const error = weightCode(value, scale, bits) * scale - value;
    sum += error * error * (products ? energyOf(products, { output: Math.floor(at / depth), outputs, k: at % depth, depth }) : 1);
  }
  return sum;
}
