/** Pair-safe int8 weights with less error than plain pair-safe scales: a smaller scale, and pairs rounded so that they fit. */
import { codeRanges, symmetricScale } from './quantization-parameters.js';
import { pairSafeScale, pairSum, SAFE_PAIR_SUM } from './saturation.js';
import type { QuantizedMatrix, WeightMatrix } from './weight-quantization.js';

export interface PairSafeOptions {
  /** One scale per output channel; otherwise one scale. */
  readonly perChannel: boolean;
  /**
   * Weight of each input in the error, E[x_k^2] from calibration: K numbers, or one block of K after the other for the groups of
   * a convolution (output channels are divided evenly among the blocks). Default 1 for all.
   */
  readonly importance?: Float64Array;
}

/** Scales tried between the smallest one and the one that is safe without moving a code. */
const SCALES_TRIED = 24;

/**
 * For each channel the scale s and codes q that minimise
 *   sum_k h_k (w_k - s q_k)^2   with  |q| <= 127  and  |q0| + |q1| <= 128 for neighbours of one sign,
 * s between max |w| / 127 and the pair-safe scale of saturation.ts. There nothing is moved; below it, a pair that is too large is
 * split where its error is least. A smaller scale is taken only when the error falls, so the error is never above the plain one's.
 */
export function quantizePairSafe(matrix: WeightMatrix, { perChannel, importance }: PairSafeOptions): QuantizedMatrix {
  const { rows, columns, reductionAxis, values } = matrix;
  const channels = reductionAxis === 0 ? columns : rows;
  const length = reductionAxis === 0 ? rows : columns;
  const step = reductionAxis === 0 ? columns : 1;
  const all = Array.from({ length: channels }, (_, channel) => {
    const start = reductionAxis === 0 ? channel : channel * columns;
    const weights = new Float64Array(length);
    for (let k = 0; k < length; k += 1) weights[k] = values[start + k * step] ?? 0;
    return { weights, importance: importanceOf(channel, { channels, length, importance }) };
  });
  const groups = perChannel ? all.map((channel) => [channel]) : [all];
  const scales = Float32Array.from(groups, bestScale);
  const codes = new Int8Array(values.length);
  for (const [channel, row] of all.entries()) {
    const rounded = new Int8Array(length);
    roundPairs(row, scales[perChannel ? channel : 0] ?? 1, rounded);
    const start = reductionAxis === 0 ? channel : channel * columns;
    for (let k = 0; k < length; k += 1) codes[start + k * step] = rounded[k] ?? 0;
  }
  return { codes, scales };
}

/** Codes of rows [channels, length] at given scales: nearest, but for pairs that are too large, which are split where the error is least. */
export function codesPairSafe(values: Float32Array, length: number, scales: Float32Array): Int8Array {
  const codes = new Int8Array(values.length);
  for (let channel = 0, at = 0; at < values.length; channel += 1, at += length) {
    const weights = Float64Array.from(values.subarray(at, at + length));
    roundPairs({ weights, importance: null }, scales[scales.length === 1 ? 0 : channel] ?? 1, codes.subarray(at, at + length));
  }
  return codes;
}

interface Channel {
  readonly weights: Float64Array;
  readonly importance: Float64Array | null;
}

function importanceOf(
  channel: number,
  { channels, length, importance }: { channels: number; length: number; importance: Float64Array | undefined },
): Float64Array | null {
  if (!importance) return null;
  const blocks = importance.length / length;
  if (!Number.isInteger(blocks) || channels % blocks !== 0) {
    throw new RangeError(`importance has ${importance.length} numbers for ${channels} channels of ${length} weights`);
  }
  const block = Math.floor(channel / (channels / blocks));
  return importance.subarray(block * length, (block + 1) * length);
}

/** The smallest scale at which no code is cut off, and the one at which no pair is too large. */
export function scaleLimits(channels: readonly { readonly weights: Float64Array }[]): { readonly full: number; readonly safe: number } {
  let largest = 0;
  let largestPair = 0;
  for (const { weights } of channels) {
    for (let k = 0; k < weights.length; k += 2) {
      const [even, odd] = [weights[k] ?? 0, weights[k + 1] ?? 0];
      largest = Math.max(largest, Math.abs(even), Math.abs(odd));
      largestPair = Math.max(largestPair, pairSum(even, odd));
    }
  }
  const full = symmetricScale(largest);
  return { full, safe: Math.max(full, Math.fround(pairSafeScale(largestPair))) };
}

function bestScale(channels: readonly Channel[]): number {
  const { full, safe } = scaleLimits(channels);
  let best = { scale: safe, error: totalError(channels, safe) };
  if (safe === full) return safe;
  for (let step = 0; step < SCALES_TRIED; step += 1) {
    const scale = Math.fround(full + ((safe - full) * step) / SCALES_TRIED);
    const error = totalError(channels, scale, best.error);
    if (error < best.error) best = { scale, error };
  }
  return best.scale;
}

/** Infinity as soon as the sum is above `limit`. */
function totalError(channels: readonly Channel[], scale: number, limit = Number.POSITIVE_INFINITY): number {
  let sum = 0;
  for (const channel of channels) {
    sum += roundPairs(channel, scale);
    if (sum > limit) return Number.POSITIVE_INFINITY;
  }
  return sum;
}

/** x + 1.5 * 2^52 has no room for a fraction: the processor rounds it half to even. */
const NO_FRACTION = 1.5 * 2 ** 52;

function clampedCode(value: number): number {
  const { min, max } = codeRanges.int8Symmetric;
  const rounded = value + NO_FRACTION - NO_FRACTION;
  return Math.max(min, Math.min(max, rounded));
}

/** Weighted error of the nearest codes that keep every pair within its limit; written to `codes` when given. Runs for every weight and scale. */
function roundPairs({ weights, importance }: Channel, scale: number, codes?: Int8Array): number {
  const length = weights.length;
  let error = 0;
  for (let k = 0; k < length; k += 2) {
    const w0 = (weights[k] ?? 0) / scale;
    const w1 = k + 1 < length ? (weights[k + 1] ?? 0) / scale : 0;
    const h0 = importance ? (importance[k] ?? 1) : 1;
    const h1 = importance ? (importance[k + 1] ?? 1) : 1;
    let q0 = clampedCode(w0);
    let q1 = clampedCode(w1);
    if (pairSum(q0, q1) > SAFE_PAIR_SUM) {
      const first = splitPair(Math.abs(w0), Math.abs(w1), h0 + h1 > 0 ? h1 / (h0 + h1) : 0.5);
      q0 = w0 < 0 ? -first : first;
      q1 = w0 < 0 ? first - SAFE_PAIR_SUM : SAFE_PAIR_SUM - first;
    }
    if (codes) {
      codes[k] = q0;
      if (k + 1 < length) codes[k + 1] = q1;
    }
    error += h0 * (w0 - q0) * (w0 - q0) + h1 * (w1 - q1) * (w1 - q1);
  }
  return error * scale ** 2;
}

/**
 * |q0| of the codes of one sign with |q0| + |q1| = 128 that minimise h0 (u0 - q0)^2 + h1 (u1 - q1)^2. The excess e = u0 + u1 - 128
 * is shared in inverse proportion to the importance: q0 = u0 - e h1 / (h0 + h1), rounded; the error being convex in q0, nothing
 * else is nearer. `share`: h1 / (h0 + h1).
 */
function splitPair(u0: number, u1: number, share: number): number {
  const ideal = u0 - (u0 + u1 - SAFE_PAIR_SUM) * share + NO_FRACTION - NO_FRACTION;
  return Math.max(1, Math.min(codeRanges.int8Symmetric.max, ideal));
}
