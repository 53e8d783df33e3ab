/** Integer operations (addition, comparison, shift, logic) that the coder takes per value: what a circuit would have to do. */
import type { CodingCounts } from './map-codec.js';

/** Per predictor, in the order of PREDICTORS: none, one addition, one, and two comparisons each for the ordering and the corner, with two additions. */
const PREDICTION = [0, 1, 1, 6];
/** The run of zeros is counted, skipped, and joined with the low bits. */
const READ = 3;
/** The sign is unfolded with a shift and a comparison, and the sum taken modulo the width. */
const UNFOLD = 3;
/** All four predictors: predicted, subtracted, folded (3), summed for the width, and two widths priced (a shift and an addition each). */
const ENCODE = PREDICTION.reduce((sum, operations) => sum + operations + 1 + 3 + 1 + 4, 0) + READ;

export interface CodingOperations {
  readonly encode: number;
  readonly decode: number;
}

/** Means per value. Decoding costs by the predictors that were chosen, encoding the same for every value. */
export function operationsPerValue({ predicted }: CodingCounts): CodingOperations {
  const values = predicted.reduce((sum, count) => sum + count, 0);
  const prediction = predicted.reduce((sum, count, predictor) => sum + count * (PREDICTION[predictor] ?? 0), 0);
  return { encode: ENCODE, decode: READ + UNFOLD + (values > 0 ? prediction / values : 0) };
}
