/** Calibration: ranges and statistics of the tensors of a float model, from samples. */

export { cachedCalibration } from './cached-calibration.js';
export {
  type CalibrationRequest,
  type CalibrationResult,
  type ChannelStatistics,
  calibrate,
  type TensorStatistics,
} from './calibrate.js';
export { leastErrorRangeOf, quantizationErrorOf } from './least-error-range.js';
export type { CalibrationOptions, RangeMethod } from './options.js';
export { strideFor } from './reading-plan.js';
