/** The clip with the least quantization error: a direct search over both ends. */
import type { ValueHistogram } from '../method.js';
import { BinnedMass } from './binned-mass.js';
import type { Range } from './range.js';

/** Positions of each end that a round of the search compares. */
const STEPS = 8;
/** Each round looks closer around the best of the one before: the last steps are 1/512 of the range. */
const ROUNDS = 4;

/**
 * argmin over low <= 0 <= high of sum h(x) (x - Q(x))^2, Q rounding to `levels` equidistant codes from low to high and clipping
 * outside (methods.md 2.6). The range holds 0, as the range of every quantized tensor does. Both ends are searched together on a
 * grid, coarse to fine: the error has one basin for the distributions that networks show.
 */
export function leastErrorRange(mass: BinnedMass, levels: number): Range {
  const full = { low: Math.min(mass.low, 0), high: Math.max(mass.high, 0) };
  let best: Range = full;
  let least = quantizationError(mass, full, levels);
  let reach = 1;
  for (let round = 0; round < ROUNDS; round += 1) {
    const from = best;
    for (const low of positions(from.low, full.low, reach)) {
      for (const high of positions(from.high, full.high, reach)) {
        const error = quantizationError(mass, { low, high }, levels);
        if (error < least) {
          least = error;
          best = { low, high };
        }
      }
    }
    reach *= 2 / STEPS;
  }
  return best;
}

/** Ends around `end`, at most `reach` times the full end away and never beyond it; the end itself where nothing can move. */
function positions(end: number, full: number, reach: number): number[] {
  if (full === 0) return [0];
  const least = Math.max(0, end / full - reach);
  const greatest = Math.min(1, end / full + reach);
  return Array.from({ length: STEPS + 1 }, (_, at) => full * (least + ((greatest - least) * at) / STEPS));
}

/**
 * sum h (x - Q(x))^2. Clipped values are as far from their code as from the end. Inside, each code takes the values within half a
 * step; where a step is finer than the bins can tell, errors are uniform in the step: E = step^2 / 12.
 */
export function quantizationError(mass: BinnedMass, { low, high }: Range, levels: number): number {
  const step = (high - low) / (levels - 1);
  const clipped = mass.squaredDistance('below', low) + mass.squaredDistance('above', high);
  if (!(step > 0)) return clipped;
  if (step < mass.width) return clipped + ((mass.massBelow(high) - mass.massBelow(low)) * step * step) / 12;
  return clipped + mass.roundingError(low, step, levels);
}

/** The error of a range over values that were counted before. */
export function quantizationErrorOf(histogram: ValueHistogram, range: Range, levels: number): number {
  return quantizationError(new BinnedMass(histogram), range, levels);
}

/** The range with the least error over values that were counted before, for any number of codes. */
export function leastErrorRangeOf(histogram: ValueHistogram, levels: number): Range {
  return leastErrorRange(new BinnedMass(histogram), levels);
}
