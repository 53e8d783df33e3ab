/** The integer product of the kernels for x64 without VNNI: activation codes times weight codes, pairs saturating at int16. */
import type { Tensor } from '../ir/index.js';
import { pairSum, SAFE_PAIR_SUM, saturateInt16 } from '../quantization/saturation.js';

/** Weight codes prepared for products: rows along K, and in each row the pairs that can leave int16. */
export interface PreparedWeights {
  /** Row-major [channels, length]. */
  readonly codes: Int8Array | Uint8Array;
  readonly channels: number;
  readonly length: number;
  /** Sum of the codes of each channel, for the zero point of the activation. */
  readonly sums: Int32Array;
  /** First position of each pair that can saturate, channel after channel; `pairStarts[c]` to `pairStarts[c + 1]` are those of c. */
  readonly pairs: Int32Array;
  readonly pairStarts: Int32Array;
}

/** Prepared weights by tensor and by the way in which an operator reads it; forgotten with the tensor. */
export class PreparedWeightCache {
  private readonly known = new WeakMap<Tensor, Map<string, readonly PreparedWeights[]>>();

  get(weight: Tensor, variant: string, prepare: () => readonly PreparedWeights[]): readonly PreparedWeights[] {
    const variants = this.known.get(weight) ?? new Map<string, readonly PreparedWeights[]>();
    this.known.set(weight, variants);
    const prepared = variants.get(variant) ?? prepare();
    variants.set(variant, prepared);
    return prepared;
  }
}

/** `saturates` is false for the operand types whose kernels widen before they add. */
export function prepareWeights(codes: Int8Array | Uint8Array, channels: number, saturates: boolean): PreparedWeights {
  const length = channels === 0 ? 0 : codes.length / channels;
  const sums = new Int32Array(channels);
  const pairs: number[] = [];
  const pairStarts = new Int32Array(channels + 1);
  for (let channel = 0; channel < channels; channel += 1) {
    for (let k = 0; k < length; k += 1) {
      const code = codes[channel * length + k] ?? 0;
      sums[channel] = (sums[channel] ?? 0) + code;
      const isFirst = k % 2 === 0 && k + 1 < length;
      if (saturates && isFirst && pairSum(code, codes[channel * length + k + 1] ?? 0) > SAFE_PAIR_SUM) pairs.push(k);
    }
    pairStarts[channel + 1] = pairs.length;
  }
  return { codes, channels, length, sums, pairs: Int32Array.from(pairs), pairStarts };
}

/**
 * result[r, c] = sum over pairs of saturate_int16(a0 w0 + a1 w1), added at int32, for `rows` rows of activation codes.
 * Computed as the exact sum less what each pair in danger loses, so that the cost is that of an exact product.
 */
export function saturatingProduct(activations: Uint8Array | Int8Array, rows: number, weights: PreparedWeights): Int32Array {
  const { channels, length } = weights;
  const result = new Int32Array(rows * channels);
  for (let row = 0; row < rows; row += 1) {
    const a = activations.subarray(row * length, (row + 1) * length);
    let channel = 0;
    for (; channel + 4 <= channels; channel += 4)
      fourDotProducts(a, weights.codes, { channel, length, result, at: row * channels + channel });
    for (; channel < channels; channel += 1) result[row * channels + channel] = dotProduct(a, weights.codes, channel * length);
    if (weights.pairs.length > 0) subtractLosses(a, weights, { result, at: row * channels });
  }
  return result;
}

function dotProduct(a: Uint8Array | Int8Array, codes: Int8Array | Uint8Array, start: number): number {
  let sum = 0;
  for (let k = 0; k < a.length; k += 1) sum = (sum + (a[k] as number) * (codes[start + k] as number)) | 0;
  return sum;
}

/** Four channels at a time, as reading the activations is what takes the time. */
function fourDotProducts(
  a: Uint8Array | Int8Array,
  codes: Int8Array | Uint8Array,
  { channel, length, result, at }: { channel: number; length: number; result: Int32Array; at: number },
): void {
  const [c0, c1, c2, c3] = [channel * length, (channel + 1) * length, (channel + 2) * length, (channel + 3) * length];
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  for (let k = 0; k < length; k += 1) {
    const x = a[k] as number;
    s0 = (s0 + x * (codes[c0 + k] as number)) | 0;
    s1 = (s1 + x * (codes[c1 + k] as number)) | 0;
    s2 = (s2 + x * (codes[c2 + k] as number)) | 0;
    s3 = (s3 + x * (codes[c3 + k] as number)) | 0;
  }
  result[at] = s0;
  result[at + 1] = s1;
  result[at + 2] = s2;
  result[at + 3] = s3;
}

function subtractLosses(a: Uint8Array | Int8Array, weights: PreparedWeights, { result, at }: { result: Int32Array; at: number }): void {
  const { codes, channels, length, pairs, pairStarts } = weights;
  for (let channel = 0; channel < channels; channel += 1) {
    const end = pairStarts[channel + 1] as number;
    let loss = 0;
    for (let index = pairStarts[channel] as number; index < end; index += 1) {
      const k = pairs[index] as number;
      const start = channel * length + k;
      const sum = (a[k] as number) * (codes[start] as number) + (a[k + 1] as number) * (codes[start + 1] as number);
      if (sum > 32_767 || sum < -32_768) loss += sum - saturateInt16(sum);
    }
    if (loss !== 0) result[at + channel] = (result[at + channel] as number) - loss;
  }
}

/**
 * sum (a - za)(w - zw) = S - za sum w - zw sum a + K za zw, where S is the sum over raw codes: what MLAS does, so that zero points
 * take no part in the saturation. `weightZeroPoint` has one entry, or one per channel.
 */
export function correctZeroPoints(product: Int32Array, { activations, activationZeroPoint, weights, weightZeroPoints }: ZeroPoints): void {
  const { channels, length, sums } = weights;
  const rows = channels === 0 ? 0 : product.length / channels;
  const hasWeightZeroPoint = weightZeroPoints.some((zeroPoint) => zeroPoint !== 0);
  for (let row = 0; row < rows; row += 1) {
    let activationSum = 0;
    if (hasWeightZeroPoint) for (let k = 0; k < length; k += 1) activationSum += activations[row * length + k] ?? 0;
    for (let channel = 0; channel < channels; channel += 1) {
      const zw = weightZeroPoints[weightZeroPoints.length === 1 ? 0 : channel] ?? 0;
      const at = row * channels + channel;
      product[at] =
        (product[at] ?? 0) - activationZeroPoint * (sums[channel] ?? 0) - zw * activationSum + length * activationZeroPoint * zw;
    }
  }
}

export interface ZeroPoints {
  readonly activations: Uint8Array | Int8Array;
  readonly activationZeroPoint: number;
  readonly weights: PreparedWeights;
  readonly weightZeroPoints: readonly number[];
}
