/** What issue 6 asks for under 'Must show', as data. */
import type { Bound } from '../quantization/thresholds.js';

/**
 * Must show 1: largest |g - g64| of a parameter over the largest |g64| of that parameter, g64 being PyTorch's gradient in float64; at
 * least a thousandth of the largest of the model, as gradients that cancel to nothing have no digits. Float32 keeps seven digits, sums
 * of a whole model lose two or three of them. PyTorch's own float32 is measured beside it: a unit that rounding carries over a kink
 * (Relu, MaxPool) costs either side up to 1e-2.
 */
export const gradientError: Bound = { limit: 1e-3, kind: 'most' };
/** Share of the largest gradient of the model below which those of a parameter are not told from rounding. */
export const SMALLEST_SHARE = 1e-3;
