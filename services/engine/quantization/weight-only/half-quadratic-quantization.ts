/** HQQ: moves the zero point of a block towards a sparse error by half-quadratic splitting. Needs no data. */
import { roundHalfToEven } from '../quantization-parameters.js';
import { type BlockFit, type BlockParameters, blockCode, blockError, blockScale, largestCode } from './blocked-weights.js';

/** p < 1: many weights exact, a few far off. */
const NORM = 0.7;
const BETA = 10;
const KAPPA = 1.01;
const ITERATIONS = 20;

/**
 * min_z sum |w - s (q - z)|^p (Badri and Shaji 2023; methods.md 3.8), s = (max - min) / (2^b - 1) fixed, repeated:
 *   q = clip(round(w / s + z)),  r = s (q - z),  e = shrink(w - r),  z = mean(q - (w - e) / s),  beta = kappa beta
 *   shrink(x) = sign(x) max(|x| - |x|^(p-1) / beta, 0);  ended when the mean |w - r| rises.
 * The zero point is rounded to a code, as kernels with float zero points are 80 times slower (onnxruntime.md 1.5), and the scale is
 * solved again for the final codes where that lowers the squared error.
 */
export const halfQuadratic: BlockFit = (values, { bits }) => {
  const largest = largestCode(bits);
  let min = values[0] ?? 0;
  let max = min;
  for (const value of values) {
    if (value < min) min = value;
    else if (value > max) max = value;
  }
  const scale = blockScale((max - min) / largest);
  const zero = sparseErrorZero(values, { scale, zero: -min / scale, largest });
  const rounded = { scale, zeroPoint: Math.max(0, Math.min(largest, roundHalfToEven(zero))) };
  const refitted = { ...rounded, scale: leastSquaresScale(values, rounded, largest) };
  return blockError(values, refitted, { largest }) < blockError(values, rounded, { largest }) ? refitted : rounded;
};

function sparseErrorZero(values: Float32Array, { scale, zero, largest }: { scale: number; zero: number; largest: number }): number {
  let beta = BETA;
  let lastError = Number.POSITIVE_INFINITY;
  let best = zero;
  let current = zero;
  for (let iteration = 0; iteration < ITERATIONS; iteration += 1) {
    let error = 0;
    let sum = 0;
    for (const value of values) {
      const code = Math.max(0, Math.min(largest, roundHalfToEven(value / scale + current)));
      const residual = value - scale * (code - current);
      const size = Math.abs(residual);
      error += size;
      const kept = size === 0 ? 0 : Math.sign(residual) * Math.max(size - size ** (NORM - 1) / beta, 0);
      sum += code - (value - kept) / scale;
    }
    if (error >= lastError) break;
    lastError = error;
    best = current;
    current = sum / values.length;
    beta *= KAPPA;
  }
  return best;
}

/** s = sum w (q - z) / sum (q - z)^2: the least squares scale for the codes of these parameters. */
function leastSquaresScale(values: Float32Array, parameters: BlockParameters, largest: number): number {
  let product = 0;
  let power = 0;
  for (const value of values) {
    const step = blockCode(value, parameters, largest) - parameters.zeroPoint;
    product += value * step;
    power += step * step;
  }
  return power === 0 ? parameters.scale : blockScale(product / power);
}
