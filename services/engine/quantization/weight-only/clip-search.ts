/** MSE: RTN with the range of each block drawn in as far as the squared error of its weights falls. Needs no data. */
import { type BlockFit, type BlockParameters, blockError, largestCode } from './blocked-weights.js';
import { rangeParameters } from './round-to-nearest.js';

/** Shares of the range that are tried. */
const SHARES = Array.from({ length: 26 }, (_, at) => 1 - at * 0.02);

/** min over p in {1, .98, ..., .5} of sum_i a_i (w_i - Q(w_i; p min, p max))^2, with a_i = 1 where no importance is known. */
export const clipSearch: BlockFit = (values, scheme, importance) => {
  const about = { largest: largestCode(scheme.bits), importance };
  let low = 0;
  let high = 0;
  for (const value of values) {
    if (value < low) low = value;
    else if (value > high) high = value;
  }
  let best: { parameters: BlockParameters; error: number } | undefined;
  for (const share of SHARES) {
    const parameters = rangeParameters(share * low, share * high, scheme);
    const error = blockError(values, parameters, about);
    if (!best || error < best.error) best = { parameters, error };
  }
  return best?.parameters ?? rangeParameters(low, high, scheme);
};
