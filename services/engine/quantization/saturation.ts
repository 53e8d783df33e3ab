/** Whether an x64 processor without VNNI gives another answer than one with it, and the scale at which it cannot. */

/**
 * Without VNNI the u8 x s8 kernel multiplies with VPMADDUBSW: two neighbours along K are multiplied and added, saturating at
 * int16, then widened. With activation codes up to 255 a pair is safe for every activation exactly when
 *   255 (|q0| + |q1|) <= 32,767  for two weights of one sign,  that is  |q0| + |q1| <= 128
 * (weights of different signs partly cancel and cannot leave the range, as 255 * 127 < 32,767).
 */
export const SAFE_PAIR_SUM = 128;

/**
 * Largest (|w0| + |w1|) / scale that is safe after rounding: each code is at most 1/2 away from w / scale, so the sum of the
 * codes is an integer of at most ratio + 1, hence at most 128 when the ratio is below 128. The margin covers float32 rounding of the scale.
 */
const SAFE_PAIR_RATIO = 127.99;

/** Scale at which the largest same-sign pair sum (|w0| + |w1|) of real weights cannot saturate. */
export function pairSafeScale(largestPairSum: number): number {
  return largestPairSum / SAFE_PAIR_RATIO;
}

/** What two neighbours along K contribute to the danger: |a| + |b| for one sign, 0 for two. */
export function pairSum(a: number, b: number): number {
  return a * b > 0 ? Math.abs(a) + Math.abs(b) : 0;
}

/** Largest pair sum of a column of weight codes, given along K. A last weight without a neighbour is never in danger. */
export function largestPairSum(column: Int8Array): number {
  let largest = 0;
  for (let k = 0; k + 1 < column.length; k += 2) largest = Math.max(largest, pairSum(column[k] ?? 0, column[k + 1] ?? 0));
  return largest;
}

/** True when some row of activation codes 0..255 would saturate the pair kernel for this column of weight codes, given along K. */
export function canSaturate(column: Int8Array): boolean {
  return largestPairSum(column) > SAFE_PAIR_SUM;
}

/** What VPMADDUBSW makes of the sum of two products. */
export function saturateInt16(value: number): number {
  return Math.max(-32_768, Math.min(32_767, value));
}

/**
 * The sum over k of activations[k] * weights[k] as VPMADDUBSW and VPMADDWD compute it: pairs (0,1), (2,3), ... are added
 * saturating at int16, the pairs at int32. Equal to the exact sum when no pair saturates.
 */
export function saturatingDotProduct(activations: Uint8Array, weights: Int8Array): number {
  let sum = 0;
  for (let k = 0; k < weights.length; k += 2) {
    const even = (activations[k] ?? 0) * (weights[k] ?? 0);
    const odd = (activations[k + 1] ?? 0) * (weights[k + 1] ?? 0);
    sum = (sum + saturateInt16(even + odd)) | 0;
  }
  return sum;
}
