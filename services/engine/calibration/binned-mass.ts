/** A histogram with running sums: counts and moments of any interval in constant time. */
import type { ValueHistogram } from '../method.js';

/** Mass below a point, and its first and second moments; each bin's mass lies evenly in it. */
export class BinnedMass {
  readonly low: number;
  readonly high: number;
  readonly width: number;
  readonly bins: number;
  /** Mass of each bin. */
  readonly counts: Float64Array;
  /** Element i: sum over the bins before i of h, h E[x] and h E[x^2] in the bin. */
  private readonly below: Float64Array;
  private readonly firstMoments: Float64Array;
  private readonly secondMoments: Float64Array;

  /** `weight` of a bin's values by their middle; default 1. */
  constructor(histogram: ValueHistogram, weight: (value: number) => number = () => 1) {
    this.bins = histogram.counts.length;
    this.low = histogram.low;
    this.high = histogram.high;
    this.width = (histogram.high - histogram.low) / Math.max(1, this.bins);
    this.counts = new Float64Array(this.bins);
    this.below = new Float64Array(this.bins + 1);
    this.firstMoments = new Float64Array(this.bins + 1);
    this.secondMoments = new Float64Array(this.bins + 1);
    const variance = this.width ** 2 / 12;
    for (const [bin, count] of histogram.counts.entries()) {
      const middle = this.middle(bin);
      const mass = count * weight(middle);
      this.counts[bin] = mass;
      this.below[bin + 1] = (this.below[bin] as number) + mass;
      this.firstMoments[bin + 1] = (this.firstMoments[bin] as number) + mass * middle;
      this.secondMoments[bin + 1] = (this.secondMoments[bin] as number) + mass * (middle * middle + variance);
    }
  }

  get total(): number {
    return this.below[this.bins] as number;
  }

  middle(bin: number): number {
    return this.low + (bin + 0.5) * this.width;
  }

  /** Mass below `value`. */
  massBelow(value: number): number {
    return interpolated(this.below, this.position(value));
  }

  /** sum h (x - center)^2 over the values below `end`, or over those above it. */
  squaredDistance(side: 'below' | 'above', end: number, center = end): number {
    const at = this.position(end);
    const part = (sums: Float64Array): number => {
      const below = interpolated(sums, at);
      return side === 'below' ? below : (sums[this.bins] as number) - below;
    };
    return Math.max(0, part(this.secondMoments) - 2 * center * part(this.firstMoments) + center * center * part(this.below));
  }

  /** sum h (x - c)^2 over the values between `low` and the last code, c the nearest of the `levels` codes low + i step. */
  roundingError(low: number, step: number, levels: number): number {
    const first = Math.max(0, Math.min(levels - 1, Math.floor((this.low - low) / step)));
    const last = Math.max(0, Math.min(levels - 1, Math.ceil((this.high - low) / step)));
    let start = this.position(first === 0 ? low : low + (first - 0.5) * step);
    let error = 0;
    for (let code = first; code <= last; code += 1) {
      const center = low + code * step;
      const end = this.position(code === levels - 1 ? center : center + step / 2);
      const mass = interpolated(this.below, end) - interpolated(this.below, start);
      if (mass > 0) {
        const moment = interpolated(this.firstMoments, end) - interpolated(this.firstMoments, start);
        const square = interpolated(this.secondMoments, end) - interpolated(this.secondMoments, start);
        error += square - 2 * center * moment + center * center * mass;
      }
      start = end;
    }
    return Math.max(0, error);
  }

  /** The value below which a share of the mass lies, found within its bin by interpolation. */
  quantile(share: number): number {
    const wanted = share * this.total;
    let first = 0;
    let last = this.bins;
    while (first < last) {
      const middle = (first + last) >> 1;
      if ((this.below[middle + 1] as number) < wanted) first = middle + 1;
      else last = middle;
    }
    if (first >= this.bins) return this.high;
    const inside = (wanted - (this.below[first] as number)) / Math.max(Number.MIN_VALUE, this.counts[first] as number);
    return this.low + (first + Math.min(1, Math.max(0, inside))) * this.width;
  }

  /** In bins from the first, within what is there. */
  private position(value: number): number {
    return Math.min(this.bins, Math.max(0, (value - this.low) / this.width));
  }
}

function interpolated(sums: Float64Array, position: number): number {
  const bin = Math.floor(position);
  const before = sums[bin] as number;
  return bin + 1 < sums.length ? before + (position - bin) * ((sums[bin + 1] as number) - before) : before;
}
