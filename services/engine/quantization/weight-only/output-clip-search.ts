/** The clip search of AWQ: the range of each block drawn in as far as the error of its part of the outputs falls. */
import {
  type BlockedWeights,
  type BlockParameters,
  type BlockScheme,
  blockCode,
  largestCode,
  roundToBlocks,
  type WeightRows,
} from './blocked-weights.js';
import { rangeParameters } from './round-to-nearest.js';

/** Shares of the range that are tried: 1 - k / 20, k = 0 .. 10 (methods.md 3.7). */
const SHARES = Array.from({ length: 11 }, (_, k) => 1 - k / 20);

/**
 * For every block b of every output: min over shares p of d^T H_bb d, d = w - Q(w; p min, p max), where H_bb is the square of
 * H = X^T X / n that belongs to the inputs of the block: the mean squared error of x_b w_b (Lin et al. 2023, AWQ, section 3.2).
 */
export function outputClipSearch(rows: WeightRows, scheme: BlockScheme, hessian: Float64Array): BlockedWeights {
  const { values, channels, depth } = rows;
  const blocks = Math.ceil(depth / scheme.blockSize);
  const scales = new Float32Array(channels * blocks);
  const zeroPoints = new Uint8Array(channels * blocks);
  for (let block = 0; block < blocks; block += 1) {
    const start = block * scheme.blockSize;
    const end = Math.min(start + scheme.blockSize, depth);
    const search = new BlockSearch(scheme, squareOf(hessian, { start, end, depth }));
    for (let channel = 0; channel < channels; channel += 1) {
      const { scale, zeroPoint } = search.best(values.subarray(channel * depth + start, channel * depth + end));
      scales[channel * blocks + block] = scale;
      zeroPoints[channel * blocks + block] = zeroPoint;
    }
  }
  return roundToBlocks(rows, { ...scheme, channels, depth, blocks, codes: new Uint8Array(values.length), scales, zeroPoints });
}

function squareOf(hessian: Float64Array, { start, end, depth }: { start: number; end: number; depth: number }): Float64Array {
  const size = end - start;
  return Float64Array.from({ length: size * size }, (_, at) => hessian[(start + Math.floor(at / size)) * depth + start + (at % size)] ?? 0);
}

class BlockSearch {
  private readonly difference: Float64Array;

  constructor(
    private readonly scheme: BlockScheme,
    private readonly square: Float64Array,
  ) {
    this.difference = new Float64Array(Math.sqrt(square.length));
  }

  best(values: Float32Array): BlockParameters {
    let low = 0;
    let high = 0;
    for (const value of values) {
      if (value < low) low = value;
      else if (value > high) high = value;
    }
    let best = rangeParameters(low, high, this.scheme);
    let bestError = Number.POSITIVE_INFINITY;
    for (const share of SHARES) {
      const parameters = rangeParameters(share * low, share * high, this.scheme);
      const error = this.error(values, parameters);
      if (error < bestError) [best, bestError] = [parameters, error];
    }
    return best;
  }

  private error(values: Float32Array, parameters: BlockParameters): number {
    const { difference, square } = this;
    const largest = largestCode(this.scheme.bits);
    const size = values.length;
    for (let at = 0; at < size; at += 1) {
      const value = values[at] ?? 0;
      difference[at] = value - parameters.scale * (blockCode(value, parameters, largest) - parameters.zeroPoint);
    }
    let sum = 0;
    for (let i = 0; i < size; i += 1) {
      let line = 0;
      for (let j = 0; j < i; j += 1) line += (square[i * size + j] ?? 0) * (difference[j] ?? 0);
      const own = difference[i] ?? 0;
      sum += own * (2 * line + (square[i * size + i] ?? 0) * own);
    }
    return sum;
  }
}
