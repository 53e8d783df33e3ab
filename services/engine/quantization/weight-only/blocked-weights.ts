/** A weight matrix in few bits: integer codes, and a scale and zero point for every block of neighbours along the reduced axis. */
import { roundHalfToEven } from '../quantization-parameters.js';

export type BlockBits = 2 | 4 | 8;

export interface BlockScheme {
  readonly bits: BlockBits;
  /** Weights along the reduced axis that share a scale. */
  readonly blockSize: number;
  /** Zero point fixed at 2^(bits-1), so that it need not be stored. */
  readonly symmetric: boolean;
}

/** A float matrix with the reduced axis last: one row per output channel. */
export interface WeightRows {
  readonly values: Float32Array;
  readonly channels: number;
  readonly depth: number;
}

/** weight = scale * (code - zeroPoint) within a block. `scale` is a float32 and may be negative, `zeroPoint` is a code. */
export interface BlockParameters {
  readonly scale: number;
  readonly zeroPoint: number;
}

export interface BlockedWeights extends BlockScheme {
  readonly channels: number;
  readonly depth: number;
  /** Blocks per channel: ceil(depth / blockSize). */
  readonly blocks: number;
  /** [channels, depth], 0 .. 2^bits - 1. */
  readonly codes: Uint8Array;
  /** [channels, blocks]. */
  readonly scales: Float32Array;
  /** [channels, blocks]. */
  readonly zeroPoints: Uint8Array;
}

/** Parameters for one block. `importance` weighs the squared error of each weight; absent, all count alike. */
export type BlockFit = (values: Float32Array, scheme: BlockScheme, importance: Float64Array | undefined) => BlockParameters;

/** The smallest normal float32: a smaller scale would be flushed to zero by some processors. */
const FLOAT32_MIN_NORMAL = 2 ** -126;

/** `scale` as a float32 that can be divided by; 1 for a block without any value. */
export function blockScale(scale: number): number {
  const rounded = Math.fround(scale);
  return Math.abs(rounded) >= FLOAT32_MIN_NORMAL ? rounded : 1;
}

export function largestCode(bits: BlockBits): number {
  return 2 ** bits - 1;
}

export function middleCode(bits: BlockBits): number {
  return 2 ** (bits - 1);
}

/** code = clip(round(w / scale) + zeroPoint, 0, 2^bits - 1), ties to even. */
export function blockCode(value: number, { scale, zeroPoint }: BlockParameters, largest: number): number {
  const code = roundHalfToEven(value / scale) + zeroPoint;
  return Math.max(0, Math.min(largest, code));
}

/** sum_i importance_i (w_i - scale (code_i - zeroPoint))^2. */
export function blockError(
  values: Float32Array,
  parameters: BlockParameters,
  about: { largest: number; importance?: Float64Array | undefined },
): number {
  const { largest, importance } = about;
  let sum = 0;
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at] ?? 0;
    const error = value - parameters.scale * (blockCode(value, parameters, largest) - parameters.zeroPoint);
    sum += (importance ? (importance[at] ?? 0) : 1) * error * error;
  }
  return sum;
}

/** Scales and zero points for every block of the matrix; `importance` has one number per input. */
export function fitBlocks(
  rows: WeightRows,
  scheme: BlockScheme,
  how: { fit: BlockFit; importance?: Float64Array | undefined },
): BlockedWeights {
  const { values, channels, depth } = rows;
  const blocks = Math.ceil(depth / scheme.blockSize);
  const scales = new Float32Array(channels * blocks);
  const zeroPoints = new Uint8Array(channels * blocks);
  for (let channel = 0; channel < channels; channel += 1) {
    for (let block = 0; block < blocks; block += 1) {
      const start = block * scheme.blockSize;
      const end = Math.min(start + scheme.blockSize, depth);
      const part = values.subarray(channel * depth + start, channel * depth + end);
      const { scale, zeroPoint } = how.fit(part, scheme, how.importance?.subarray(start, end));
      scales[channel * blocks + block] = scale;
      zeroPoints[channel * blocks + block] = zeroPoint;
    }
  }
  return { ...scheme, channels, depth, blocks, codes: new Uint8Array(channels * depth), scales, zeroPoints };
}

/** The parameters that hold at input `k` of `channel`. */
export function parametersAt(weights: BlockedWeights, channel: number, k: number): BlockParameters {
  const at = channel * weights.blocks + Math.floor(k / weights.blockSize);
  return { scale: weights.scales[at] ?? 1, zeroPoint: weights.zeroPoints[at] ?? 0 };
}

/** Every weight to the nearest code of its block. */
export function roundToBlocks(rows: WeightRows, fitted: BlockedWeights): BlockedWeights {
  const { depth, blockSize, bits } = fitted;
  const largest = largestCode(bits);
  const codes = new Uint8Array(fitted.codes.length);
  for (let start = 0; start < codes.length; start += depth) {
    for (let first = 0; first < depth; first += blockSize) {
      const parameters = parametersAt(fitted, start / depth, first);
      const end = start + Math.min(first + blockSize, depth);
      for (let at = start + first; at < end; at += 1) codes[at] = blockCode(rows.values[at] ?? 0, parameters, largest);
    }
  }
  return { ...fitted, codes };
}

/** The float32 weights that the codes stand for, [channels, depth], as the runtime computes them. */
export function widened(weights: BlockedWeights): Float32Array {
  const { codes, depth, blockSize } = weights;
  const values = new Float32Array(codes.length);
  for (let start = 0; start < codes.length; start += depth) {
    for (let first = 0; first < depth; first += blockSize) {
      const { scale, zeroPoint } = parametersAt(weights, start / depth, first);
      const end = start + Math.min(first + blockSize, depth);
      for (let at = start + first; at < end; at += 1) values[at] = scale * ((codes[at] ?? 0) - zeroPoint);
    }
  }
  return values;
}
