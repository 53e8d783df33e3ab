/** From a float32 weight matrix to int8 codes and scales, one scale per output channel or one for all. */
import { codeRanges, quantizeValue, symmetricScale } from './quantization-parameters.js';
import { pairSafeScale, pairSum } from './saturation.js';

export interface WeightMatrix {
  /** Row-major [rows, columns]. */
  readonly values: Float32Array;
  readonly rows: number;
  readonly columns: number;
  /** The axis that a product sums over: 0 for MatMul weights [K, N], 1 for Gemm weights [N, K] with transB and for recurrent weights. */
  readonly reductionAxis: 0 | 1;
}

export interface WeightScheme {
  /** One scale per output channel (the axis that is not reduced); otherwise one scale. */
  readonly perChannel: boolean;
  /** Choose the scales so that no pair along the reduced axis can saturate a processor without VNNI; see saturation.ts. */
  readonly pairSafe: boolean;
}

export interface QuantizedMatrix {
  /** Codes in the order of the values, symmetric -127..127, zero point 0. */
  readonly codes: Int8Array;
  /** One per output channel, or one. */
  readonly scales: Float32Array;
}

/**
 * codes = round(w / s), ties to even, with s = max |w| / 127 over the channel (methods.md 2.3), and for a pair-safe scheme
 * s = max(max |w| / 127, max pair sum / 127.99) (onnxruntime.md 1.6b). No value is clipped: |w - s q| <= s / 2.
 */
export function quantizeWeights(matrix: WeightMatrix, scheme: WeightScheme): QuantizedMatrix {
  const { values, rows, columns, reductionAxis } = matrix;
  const channels = reductionAxis === 0 ? columns : rows;
  const length = reductionAxis === 0 ? rows : columns;
  const channelStride = reductionAxis === 0 ? 1 : columns;
  const step = reductionAxis === 0 ? columns : 1;
  const needed = new Float64Array(channels);
  for (let channel = 0; channel < channels; channel += 1) {
    needed[channel] = scaleFor({ values, start: channel * channelStride, step, length }, scheme.pairSafe);
  }
  const scales = scheme.perChannel
    ? Float32Array.from(needed, (scale) => scale || NO_SCALE)
    : Float32Array.of(needed.reduce((a, b) => Math.max(a, b), 0) || NO_SCALE);
  const codes = new Int8Array(values.length);
  for (let channel = 0; channel < channels; channel += 1) {
    const parameters = { scale: (scheme.perChannel ? scales[channel] : scales[0]) ?? 1, zeroPoint: 0 };
    for (let k = 0, at = channel * channelStride; k < length; k += 1, at += step) {
      codes[at] = quantizeValue(values[at] ?? 0, parameters, codeRanges.int8Symmetric);
    }
  }
  return { codes, scales };
}

interface Channel {
  readonly values: Float32Array;
  readonly start: number;
  readonly step: number;
  readonly length: number;
}

/** Of zeros alone: any scale represents them, so it must not decide that of others. */
const NO_SCALE = 1;

/** 0 for a channel of zeros. */
function scaleFor({ values, start, step, length }: Channel, pairSafe: boolean): number {
  let absoluteMax = 0;
  let largestPair = 0;
  for (let k = 0; k < length; k += 2) {
    const even = values[start + k * step] ?? 0;
    const odd = k + 1 < length ? (values[start + (k + 1) * step] ?? 0) : 0;
    absoluteMax = Math.max(absoluteMax, Math.abs(even), Math.abs(odd));
    if (pairSafe) largestPair = Math.max(largestPair, pairSum(even, odd));
  }
  if (absoluteMax === 0) return 0;
  const plain = symmetricScale(absoluteMax);
  return Math.max(plain, Math.fround(pairSafeScale(largestPair)));
}

/** [rows, columns] to [columns, rows]. */
export function transposed<T extends Int8Array | Float32Array>(codes: T, rows: number, columns: number): T {
  const result = codes.slice() as T;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) result[column * rows + row] = codes[row * columns + column] ?? 0;
  }
  return result;
}
