/** When two models that took turns have been timed enough: the interval in which the ratio of their times lies. */

export interface RatioInterval {
  readonly low: number;
  readonly high: number;
}

/** The fewest rounds from which an interval can be told. */
export const INTERVAL_ROUNDS_MIN = 8;

/** 95 % of a normal distribution lie within this many standard deviations. */
const DEVIATIONS = 1.96;

/**
 * Interval that holds the median of the ratios with a confidence of 95 %, whatever their distribution: the order statistics
 * n/2 -+ 1.96 sqrt(n)/2 (binomial counts; Conover 1999, Practical Nonparametric Statistics, section 3.2). `ratios`: one per round.
 * Null for fewer rounds than the interval needs.
 */
export function ratioInterval(ratios: readonly number[]): RatioInterval | null {
  const sorted = [...ratios].sort((a, b) => a - b);
  const half = (DEVIATIONS * Math.sqrt(sorted.length)) / 2;
  const low = sorted[Math.floor(sorted.length / 2 - half)];
  const high = sorted[Math.ceil(sorted.length / 2 + half)];
  return low === undefined || high === undefined ? null : { low, high };
}

/** The middle of the ratios. */
export function middleRatio(ratios: readonly number[]): number {
  return quantile(
    [...ratios].sort((a, b) => a - b),
    0.5,
  );
}

/** A claim of a gain or a loss is as good when its size is known within a tenth. */
const SHARE_OF_DIFFERENCE = 0.1;

/**
 * Whether the ratio is known well enough for what it says: within `share` of itself to both sides, or within a tenth of what parts it from
 * one (in logarithms: 1.2 within 2 %, 2.0 within 7 %).
 */
export function isKnownForWhatItSays(interval: RatioInterval, share: number): boolean {
  const difference = Math.min(Math.abs(Math.log(interval.low)), Math.abs(Math.log(interval.high)));
  const isOneSided = interval.low > 1 || interval.high < 1;
  return isKnownWithin(interval, Math.max(share, isOneSided ? SHARE_OF_DIFFERENCE * difference : 0));
}

/** Whether the ratio lies within this share of itself to both sides. */
export function isKnownWithin({ low, high }: RatioInterval, share: number): boolean {
  return high - low < 2 * share * low;
}

/** Whether either of the two may be the faster one, and the ratio is not known within this share either. */
export function isUndecided(interval: RatioInterval, share: number): boolean {
  return interval.low < 1 && interval.high > 1 && !isKnownWithin(interval, share);
}

/** Quantile by linear interpolation between order statistics (Hyndman and Fan 1996, type 7). `sorted` ascends and is not empty. */
export function quantile(sorted: readonly number[], q: number): number {
  const position = (sorted.length - 1) * q;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}
