/** A histogram of values that arrive in pieces: its range grows, its memory does not. */
import type { ValueHistogram } from '../method.js';

/**
 * Counts in equal bins. When a value lies outside, pairs of bins are merged and the range doubles towards it, so that no
 * count is ever split. Twice the wanted bins are kept: between `bins` and `2 * bins` of them cover the observed values.
 */
export class ValueDistribution {
  private counts: Float64Array;
  private low = 0;
  private width = 0;

  constructor(bins: number) {
    this.counts = new Float64Array(2 * bins + (bins % 2));
  }

  /** Values that are not finite are left out. `min` and `max` are the least and the greatest finite one. */
  add(values: Float32Array, { min, max }: { readonly min: number; readonly max: number }): void {
    if (!(min <= max)) return;
    this.cover(min, max);
    const { counts, low } = this;
    const last = counts.length - 1;
    const perWidth = 1 / this.width;
    for (let at = 0; at < values.length; at += 1) {
      const position = ((values[at] as number) - low) * perWidth;
      // Infinite positions fail the comparisons, and so do NaNs.
      if (position >= 0 && position <= last + 1) {
        const bin = position > last ? last : position | 0;
        counts[bin] = (counts[bin] as number) + 1;
      }
    }
  }

  /** The bins that hold something, from the first to the last; undefined when there is none. */
  histogram(): ValueHistogram | undefined {
    const first = this.counts.findIndex((count) => count > 0);
    if (first < 0) return undefined;
    const end = this.counts.findLastIndex((count) => count > 0) + 1;
    return {
      low: this.low + first * this.width,
      high: this.low + end * this.width,
      counts: Array.from(this.counts.subarray(first, end)),
    };
  }

  private cover(min: number, max: number): void {
    if (this.width === 0) {
      this.low = min;
      /** A little wider, so that rounding does not put `max` outside. One value has no width: start fine, doubling does the rest. */
      const width = ((max - min) / this.counts.length) * (1 + 2 ** -40);
      this.width = Math.max(width, Math.max(Math.abs(min), Math.abs(max)) * 2 ** -32, 2 ** -126);
    }
    while (max > this.high) this.double('up');
    while (min < this.low) this.double('down');
  }

  private get high(): number {
    return this.low + this.width * this.counts.length;
  }

  private double(direction: 'up' | 'down'): void {
    const { counts } = this;
    const half = counts.length / 2;
    const merged = new Float64Array(counts.length);
    const start = direction === 'up' ? 0 : half;
    for (let bin = 0; bin < half; bin += 1) merged[start + bin] = (counts[2 * bin] as number) + (counts[2 * bin + 1] as number);
    if (direction === 'down') this.low = this.low - this.width * counts.length;
    this.counts = merged;
    this.width *= 2;
  }
}
