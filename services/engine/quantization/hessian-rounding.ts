/** Rounds weights column by column, each error made good by the columns not yet rounded (GPTQ), under the pair constraint if asked. */
import { EngineError } from '../engine-errors.js';
import { dampedInverseFactor } from '../normal-equations/column-elimination.js';
import { codeRanges, roundHalfToEven } from './quantization-parameters.js';
import { pairSum, SAFE_PAIR_SUM } from './saturation.js';

export interface HessianRounding {
  /** Row-major [channels, length], convolution weights in kernel order. */
  readonly values: Float32Array;
  readonly channels: number;
  readonly length: number;
  /** One per channel, or one. */
  readonly scales: Float32Array;
  /**
   * H = E[x x^T] over the inputs of the product: length * length numbers, or one such block after the other for the groups of a
   * convolution (channels are divided evenly among the blocks).
   */
  readonly hessian: Float64Array;
  /** Keep |q0| + |q1| <= 128 for neighbours of one sign. */
  readonly pairSafe: boolean;
  /** Share of the mean diagonal added to the diagonal. Default 0.01. */
  readonly damping?: number;
}

/**
 * GPTQ (Frantar et al. 2022, algorithm 1) in float64. With H^-1 = U^T U, U upper triangular, for k = 0, 1, ...:
 *   q_k = round(w_k / s),  e = (w_k - s q_k) / U_kk,  w_j -= e U_kj for j > k;
 * sum_k e^2 is the increase of the output error. Pairs are visited by falling importance (diagonal of H), their members together:
 * a pair that would be too large gets the codes with the least e0^2 + e1^2.
 */
export function roundWithHessian(options: HessianRounding): Int8Array {
  const { values, channels, length, hessian } = options;
  const blocks = hessian.length / length ** 2;
  if (!Number.isInteger(blocks) || channels % blocks !== 0) {
    throw new RangeError(`the Hessian has ${hessian.length} numbers for ${channels} channels of ${length} weights`);
  }
  const codes = new Int8Array(values.length);
  for (let block = 0; block < blocks; block += 1) {
    const h = hessian.subarray(block * length ** 2, (block + 1) * length ** 2);
    const order = pairsByImportance(h, length);
    const factor = inverseFactor(h, order, options.damping ?? 0.01);
    for (let channel = (block * channels) / blocks; channel < ((block + 1) * channels) / blocks; channel += 1) {
      const row = Float64Array.from(order, (k) => values[channel * length + k] ?? 0);
      const scale = options.scales[options.scales.length === 1 ? 0 : channel] ?? 1;
      const rounded = roundRow(row, { scale, factor, pairSafe: options.pairSafe, order });
      for (const [at, k] of order.entries()) codes[channel * length + k] = rounded[at] ?? 0;
    }
  }
  return codes;
}

/** Positions 0..length-1 with the members of a pair side by side, pairs by falling sum of their diagonals. */
function pairsByImportance(h: Float64Array, length: number): number[] {
  const weight = (k: number): number => (k < length ? (h[k * length + k] ?? 0) : 0);
  const pairs = Array.from({ length: Math.ceil(length / 2) }, (_, pair) => 2 * pair);
  pairs.sort((a, b) => weight(b) + weight(b + 1) - weight(a) - weight(a + 1) || a - b);
  return pairs.flatMap((k) => (k + 1 < length ? [k, k + 1] : [k]));
}

/** U with H^-1 = U^T U for the damped H in `order`, row-major. Throws EngineError `dataset_invalid`. */
function inverseFactor(hessian: Float64Array, order: readonly number[], damping: number): Float64Array {
  const factor = dampedInverseFactor({ hessian, depth: order.length, order, damping });
  if (factor) return factor;
  throw new EngineError(
    'dataset_invalid',
    'The inputs of a layer are not finite numbers: use other calibration samples, or rounding "nearest".',
  );
}

interface RowRounding {
  readonly scale: number;
  /** U, row-major. */
  readonly factor: Float64Array;
  readonly pairSafe: boolean;
  readonly order: readonly number[];
}

function roundRow(row: Float64Array, { scale, factor, pairSafe, order }: RowRounding): Int8Array {
  const codes = new Int8Array(row.length);
  for (let at = 0; at < row.length; at += 1) {
    const isPair = (order[at] ?? 0) % 2 === 0 && at + 1 < row.length && (order[at + 1] ?? 0) === (order[at] ?? 0) + 1;
    codes[at] = isPair && pairSafe ? firstOfPair(row, at, { scale, factor }) : nearest((row[at] ?? 0) / scale);
    const isSecond = pairSafe && (order[at] ?? 0) % 2 === 1;
    if (isSecond) codes[at] = besidePartner(codes[at] ?? 0, codes[at - 1] ?? 0);
    const size = row.length;
    const error = ((row[at] ?? 0) - scale * (codes[at] ?? 0)) / (factor[at * size + at] ?? 1);
    for (let later = at + 1; later < size; later += 1) row[later] = (row[later] ?? 0) - error * (factor[at * size + later] ?? 0);
  }
  return codes;
}

function nearest(value: number): number {
  const { min, max } = codeRanges.int8Symmetric;
  return Math.max(min, Math.min(max, roundHalfToEven(value)));
}

/** The largest code of its sign that the partner leaves room for. */
function besidePartner(code: number, partner: number): number {
  return pairSum(code, partner) > SAFE_PAIR_SUM ? Math.sign(code) * (SAFE_PAIR_SUM - Math.abs(partner)) : code;
}

/** The code of the first member that, with the best code of the second beside it, adds least to the output error. */
function firstOfPair(row: Float64Array, at: number, { scale, factor }: Pick<RowRounding, 'scale' | 'factor'>): number {
  const size = row.length;
  const [u00, u01, u11] = [factor[at * size + at] ?? 1, factor[at * size + at + 1] ?? 0, factor[(at + 1) * size + at + 1] ?? 1];
  const [w0, w1] = [row[at] ?? 0, row[at + 1] ?? 0];
  let best = { code: 0, loss: Number.POSITIVE_INFINITY };
  const ideal = nearest(w0 / scale);
  for (let code = ideal; ; code -= Math.sign(ideal)) {
    const e0 = (w0 - scale * code) / u00;
    const target = w1 - e0 * u01;
    const free = nearest(target / scale);
    const second = besidePartner(free, code);
    const loss = e0 ** 2 + ((target - scale * second) / u11) ** 2;
    if (loss < best.loss) best = { code, loss };
    if (second === free || code === 0) return best.code;
  }
}
