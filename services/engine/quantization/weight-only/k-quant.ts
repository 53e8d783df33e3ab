/** k-quant: scale and offset of each block by a search of least squares fits in which important weights count more. */
import { roundHalfToEven } from '../quantization-parameters.js';
import {
  type BlockFit,
  type BlockParameters,
  type BlockScheme,
  blockCode,
  blockError,
  blockScale,
  largestCode,
} from './blocked-weights.js';
import { roundToNearest } from './round-to-nearest.js';

const CANDIDATES = 20;
const FIRST_STEP = -1;
const STEP = 0.1;

/**
 * Importance without data: a_i = rms(w) + |w_i| (llama.cpp make_qkx2_quants; methods.md 2.8). With data, E[x_i^2] of the input
 * times sqrt(mean w^2 + w_i^2), as llama.cpp weighs with its importance matrix.
 */
function weighted(values: Float32Array, importance: Float64Array | undefined): Float64Array {
  let power = 0;
  for (const value of values) power += value * value;
  const mean = power / values.length;
  return Float64Array.from(values, (value, at) =>
    importance ? (importance[at] ?? 0) * Math.sqrt(mean + value * value) : Math.sqrt(mean) + Math.abs(value),
  );
}

/**
 * For inverse scales (2^b - 1 - 1 + 0.1 i) / (max - min), i = 0 .. 20: codes by rounding, then scale and offset by weighted least
 * squares for these codes, then zero point = round(-offset / scale). The candidate whose final form has the least weighted squared
 * error wins; RTN is one of them, so that the result is never worse than RTN in that measure.
 */
export const kQuant: BlockFit = (values, scheme, importance) => {
  const weights = weighted(values, importance);
  const about = { largest: largestCode(scheme.bits), importance: weights };
  let best = roundToNearest(values, scheme, undefined);
  let bestError = blockError(values, best, about);
  for (const candidate of candidates(values, { scheme, weights })) {
    const error = blockError(values, candidate, about);
    if (error < bestError) [best, bestError] = [candidate, error];
  }
  return best;
};

interface Search {
  readonly scheme: BlockScheme;
  readonly weights: Float64Array;
}

function* candidates(values: Float32Array, { scheme, weights }: Search): Generator<BlockParameters> {
  const start = roundToNearest(values, scheme, undefined);
  const largest = largestCode(scheme.bits);
  for (let step = 0; step <= CANDIDATES; step += 1) {
    const scale = (start.scale * largest) / (largest + FIRST_STEP + STEP * step);
    if (scheme.symmetric) yield fittedScale(values, { scale, zeroPoint: start.zeroPoint }, { largest, weights });
    else yield fittedLine(values, { scale: Math.abs(scale), zeroPoint: start.zeroPoint }, { largest, weights });
  }
}

/** scale = sum a w (q - z) / sum a (q - z)^2 for the codes that the given parameters lead to. */
function fittedScale(
  values: Float32Array,
  from: BlockParameters,
  { largest, weights }: { largest: number; weights: Float64Array },
): BlockParameters {
  let product = 0;
  let power = 0;
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at] ?? 0;
    const step = blockCode(value, from, largest) - from.zeroPoint;
    product += (weights[at] ?? 0) * value * step;
    power += (weights[at] ?? 0) * step * step;
  }
  return { ...from, scale: power > 0 ? blockScale(product / power) : blockScale(from.scale) };
}

/** min over (scale, offset) of sum a (w - scale q - offset)^2, then the offset as an integer zero point, then the scale for it. */
function fittedLine(values: Float32Array, from: BlockParameters, about: { largest: number; weights: Float64Array }): BlockParameters {
  const { largest, weights } = about;
  let [a, aq, aqq, aw, awq] = [0, 0, 0, 0, 0];
  for (let at = 0; at < values.length; at += 1) {
    const weight = weights[at] ?? 0;
    const value = values[at] ?? 0;
    const code = blockCode(value, from, largest);
    a += weight;
    aq += weight * code;
    aqq += weight * code * code;
    aw += weight * value;
    awq += weight * value * code;
  }
  const determinant = a * aqq - aq * aq;
  if (determinant <= 0) return { ...from, scale: blockScale(from.scale) };
  const scale = (a * awq - aq * aw) / determinant;
  const offset = (aqq * aw - aq * awq) / determinant;
  if (!(scale > 0)) return { ...from, scale: blockScale(from.scale) };
  const zeroPoint = Math.max(0, Math.min(largest, roundHalfToEven(-offset / scale)));
  return fittedScale(values, { scale: blockScale(scale), zeroPoint }, about);
}
