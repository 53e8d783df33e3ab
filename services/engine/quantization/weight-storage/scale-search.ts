/** Scales of output channels: the largest weight, the least squared error of the weights, or of their products with real inputs. */
import { roundHalfToEven, symmetricScale } from '../quantization-parameters.js';

/** Codes of b bits, both ends included: -2^(b-1) to 2^(b-1) - 1, and -127 to 127 for 8 bits. */
export interface CodeLimits {
  readonly low: number;
  readonly high: number;
}

export function codeLimits(bits: number): CodeLimits {
  return bits === 8 ? { low: -127, high: 127 } : { low: -(2 ** (bits - 1)), high: 2 ** (bits - 1) - 1 };
}

/** A negative scale turns the codes around: the weights have one code more on the other side. */
export function codeOf(value: number, scale: number, { low, high }: CodeLimits): number {
  return Math.max(low, Math.min(high, roundHalfToEven(value / scale)));
}

/**
 * For 8 bits max |w| / 127. Below, where one code more counts, the largest weight gets the code -2^(b-1), whichever its sign is
 * (the rule of ggml's Q4_0): s = -w_max / 2^(b-1).
 */
export function largestScale(row: Float64Array, bits: number): number {
  const extreme = row.reduce((largest, value) => (Math.abs(value) > Math.abs(largest) ? value : largest), 0);
  if (bits === 8) return symmetricScale(Math.abs(extreme));
  return legal(extreme / codeLimits(bits).low);
}

function legal(scale: number): number {
  const rounded = Math.fround(scale);
  return Math.abs(rounded) >= 2 ** -126 ? rounded : 1;
}

/** First shares of the largest scale that are tried, then closer and closer ones around the best. */
const COARSE = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1];
const REFINEMENTS = [0.05, 0.025, 0.0125];

/**
 * The scale, of either sign, at which the rounded row has the least `loss`: a grid, then halved steps around its best point.
 * `loss` gets rounded minus original weights.
 */
export function searchScale(row: Float64Array, bits: number, loss: (errors: Float64Array) => number): number {
  const limits = codeLimits(bits);
  const largest = largestScale(row, bits);
  const errors = new Float64Array(row.length);
  let best = { share: 1, loss: Number.POSITIVE_INFINITY };
  const attempt = (share: number): void => {
    const scale = legal(largest * share);
    for (const [k, value] of row.entries()) errors[k] = codeOf(value, scale, limits) * scale - value;
    const found = loss(errors);
    if (found < best.loss) best = { share, loss: found };
  };
  for (const share of COARSE) {
    attempt(share);
    if (bits !== 8) attempt(-share);
  }
  for (const step of REFINEMENTS) {
    const { share } = best;
    attempt(share - step);
    attempt(share + step);
  }
  return legal(largest * best.share);
}
