/** Options of mixed-precision, as the recipe writes them. */

export interface MixedPrecisionOptions {
  /** Fraction of the bytes or of the latency of the model that the artifact may keep: one of them. The noise of the outputs is least within it. */
  readonly budget?: { readonly bytes?: number; readonly latency?: number };
  /** Weight bits to choose from; 32 is float. Default 4, 8 and 32. */
  readonly bits?: readonly (2 | 3 | 4 | 8 | 32)[];
  /** Default 'greedy'. */
  readonly search?: 'greedy' | 'knapsack';
  /** Least signal to noise ratio of the outputs on the calibration samples, in dB. Without it and a budget: 30, or what the gate's metric allows. */
  readonly min_sqnr_db?: number;
  readonly exclude?: readonly string[];
}
