/** Histograms that grow: no value is lost or moved to a bin that does not hold it, whatever the order of the pieces. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BinnedMass } from '../../../../services/engine/calibration/binned-mass.js';
import { ValueDistribution } from '../../../../services/engine/calibration/value-distribution.js';

const BINS = 64;
const pieces = fc.array(
  fc.array(fc.float({ noDefaultInfinity: true, noNaN: true, min: -1e6, max: 1e6 }), { minLength: 1, maxLength: 40 }),
  {
    minLength: 1,
    maxLength: 8,
  },
);

function distributionOf(parts: readonly (readonly number[])[]): ValueDistribution {
  const distribution = new ValueDistribution(BINS);
  for (const part of parts) distribution.add(Float32Array.from(part), { min: Math.min(...part), max: Math.max(...part) });
  return distribution;
}

describe('a growing histogram', () => {
  it('counts every value within a bin of where it lies', () => {
    fc.assert(
      fc.property(pieces, (parts) => {
        const values = parts.flat().sort((a, b) => a - b);
        const histogram = distributionOf(parts).histogram();
        if (!histogram) throw new Error('no histogram');
        expect(histogram.counts.reduce((a, b) => a + b, 0)).toBe(values.length);
        const width = (histogram.high - histogram.low) / histogram.counts.length;
        let seen = 0;
        for (const [bin, count] of histogram.counts.entries()) {
          const held = values.slice(seen, seen + count);
          seen += count;
          for (const value of held) expect(Math.abs(value - (histogram.low + (bin + 0.5) * width))).toBeLessThanOrEqual(0.5001 * width);
        }
      }),
    );
  });

  it('resolves the observed range into at least the bins that were asked for', () => {
    fc.assert(
      fc.property(pieces, (parts) => {
        const values = parts.flat();
        const [least, largest] = [Math.min(...values), Math.max(...values)];
        fc.pre(largest - least > 1e-3 * Math.max(Math.abs(least), Math.abs(largest)));
        // No bin is narrower than the least normal float32.
        fc.pre(largest - least >= BINS * 2 ** -126);
        const histogram = distributionOf(parts).histogram();
        const width = histogram ? (histogram.high - histogram.low) / histogram.counts.length : Number.NaN;
        expect((largest - least) / width).toBeGreaterThanOrEqual(BINS / 2);
      }),
    );
  });

  it('leaves out values that are not finite', () => {
    const distribution = new ValueDistribution(BINS);
    distribution.add(Float32Array.of(1, Number.NaN, 2, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY), { min: 1, max: 2 });
    expect(distribution.histogram()?.counts.reduce((a, b) => a + b, 0)).toBe(2);
  });

  it('gives quantiles within a bin of those of the sorted values', () => {
    fc.assert(
      fc.property(pieces, fc.double({ min: 0, max: 1, noNaN: true }), (parts, share) => {
        const values = parts.flat().sort((a, b) => a - b);
        const histogram = distributionOf(parts).histogram();
        if (!histogram) throw new Error('no histogram');
        const mass = new BinnedMass(histogram);
        const quantile = mass.quantile(share);
        const rank = share * values.length;
        const least = values[Math.max(0, Math.ceil(rank) - 1)] ?? Number.NaN;
        const largest = values[Math.min(values.length - 1, Math.floor(rank))] ?? Number.NaN;
        expect(quantile).toBeGreaterThanOrEqual(least - 1.001 * mass.width);
        expect(quantile).toBeLessThanOrEqual(largest + 1.001 * mass.width);
      }),
    );
  });
});
