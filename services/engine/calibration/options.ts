/** Options of calibration, as recipes write them. */

export type RangeMethod = 'minmax' | 'moving-average' | 'percentile' | 'entropy' | 'mse' | 'sqnr';

export interface CalibrationOptions {
  /** How ranges are chosen from the observed values. */
  readonly method?: RangeMethod;
  /** For 'percentile': the share of values kept, in percent. Default 99.999. */
  readonly percentile?: number;
  /** At most this many samples are run. Default: all, or fewer when the ranges no longer move. */
  readonly samples?: number;
  /** Bins of the histograms. Default 2048. */
  readonly bins?: number;
}
