/** RTN: the range of a block decides its scale; every weight goes to the nearest code. Needs no data and no search. */
import { roundHalfToEven } from '../quantization-parameters.js';
import { type BlockFit, type BlockParameters, type BlockScheme, blockScale, largestCode, middleCode } from './blocked-weights.js';

/**
 * Symmetric: m = the value of largest magnitude, with its sign; scale = m / -2^(b-1), so that m itself has the one code that has no
 * negative. Asymmetric: the range with 0; scale = (max - min) / (2^b - 1), zero point = round(-min / scale).
 * (methods.md 2.8; the block kernel of onnxruntime's matmul_nbits_quantizer.)
 */
export const roundToNearest: BlockFit = (values, scheme) => {
  let min = 0;
  let max = 0;
  for (const value of values) {
    if (value < min) min = value;
    else if (value > max) max = value;
  }
  return rangeParameters(min, max, scheme);
};

/** The parameters that cover [min, max], where min <= 0 <= max. */
export function rangeParameters(min: number, max: number, { bits, symmetric }: BlockScheme): BlockParameters {
  if (symmetric) return { scale: blockScale((max > -min ? max : min) / -middleCode(bits)), zeroPoint: middleCode(bits) };
  const largest = largestCode(bits);
  const scale = blockScale((max - min) / largest);
  return { scale, zeroPoint: Math.max(0, Math.min(largest, roundHalfToEven(-min / scale))) };
}
