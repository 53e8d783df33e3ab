/** Searches for clips against plain recomputation: entropy by its definition, squared errors value by value. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BinnedMass } from '../../../../services/engine/calibration/binned-mass.js';
import { EntropyWindows } from '../../../../services/engine/calibration/entropy-range.js';
import { leastErrorRange, quantizationError } from '../../../../services/engine/calibration/least-error-range.js';
import { ValueDistribution } from '../../../../services/engine/calibration/value-distribution.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';

/** Kullback-Leibler divergence of a window, from the definition: two lists of equal length, each normalized. */
function divergence(counts: readonly number[], first: number, end: number, levels: number): number {
  const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);
  const window = counts.slice(first, end);
  const p = [...window];
  p[0] = (p[0] ?? 0) + sum(counts.slice(0, first));
  p[p.length - 1] = (p.at(-1) ?? 0) + sum(counts.slice(end));
  const q = new Array<number>(p.length).fill(0);
  for (let code = 0; code < levels; code += 1) {
    const from = Math.floor((p.length * code) / levels);
    const to = Math.floor((p.length * (code + 1)) / levels);
    const bins = Array.from({ length: to - from }, (_, at) => from + at).filter((bin) => (p[bin] ?? 0) > 0);
    for (const bin of bins) q[bin] = sum(window.slice(from, to)) / bins.length;
  }
  const [ofP, ofQ] = [sum(p), sum(q)];
  return sum(p.map((each, bin) => (each > 0 ? (each / ofP) * Math.log(each / ofP / ((q[bin] ?? 0) / ofQ)) : 0)));
}

describe('entropy', () => {
  it('of any window is what its definition gives', () => {
    const counts = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 24, maxLength: 60 });
    fc.assert(
      fc.property(counts, fc.nat(), fc.nat(), (each, a, b) => {
        const levels = 8;
        const first = a % (each.length - levels);
        const end = first + levels + (b % (each.length - first - levels + 1));
        fc.pre(each.slice(first, end).some((count) => count > 0));
        const windows = new EntropyWindows(new BinnedMass({ low: 0, high: 1, counts: each }), levels);
        const expected = divergence(each, first, end, levels);
        const got = windows.divergence(first, end);
        if (Number.isFinite(expected)) expect(got).toBeCloseTo(expected, 9);
        else expect(got).toBe(Number.POSITIVE_INFINITY);
      }),
    );
  });
});

/** Values on a grid of bin middles, so that the histogram says all about them. */
function distributionOf(values: Float32Array): BinnedMass {
  const distribution = new ValueDistribution(4096);
  distribution.add(values, { min: values.reduce((a, b) => Math.min(a, b)), max: values.reduce((a, b) => Math.max(a, b)) });
  const histogram = distribution.histogram();
  if (!histogram) throw new Error('no histogram');
  return new BinnedMass(histogram);
}

function directError(values: Float32Array, low: number, high: number, levels: number): number {
  const step = (high - low) / (levels - 1);
  return values.reduce((sum, value) => {
    const code = Math.min(levels - 1, Math.max(0, Math.round((value - low) / step)));
    return sum + (value - low - code * step) ** 2;
  }, 0);
}

describe('squared error', () => {
  const random = pseudoRandom(3);
  const shapes = {
    gauss: () => random.normal(),
    'one-sided': () => Math.max(0, random.normal()),
    'heavy tails': () => random.normal() * Math.exp(random.normal()),
    shifted: () => random.normal() + 2,
  };
  for (const [name, draw] of Object.entries(shapes)) {
    const values = Float32Array.from({ length: 20_000 }, draw);
    const mass = distributionOf(values);

    it(`of a range is what the values give, ${name}`, () => {
      for (const levels of [16, 256]) {
        for (const share of [1, 0.7, 0.4]) {
          const low = share * Math.min(0, mass.low);
          const high = share * Math.max(0, mass.high);
          const direct = directError(values, low, high, levels);
          const step = (high - low) / (levels - 1);
          // Values are known to half a bin: their errors to as much, against the step.
          const tolerance = 0.02 + mass.width / step;
          expect(quantizationError(mass, { low, high }, levels) / direct).toBeGreaterThan(1 - tolerance);
          expect(quantizationError(mass, { low, high }, levels) / direct).toBeLessThan(1 + tolerance);
        }
      }
    });

    it(`of the chosen range is within 2 % of the least on a fine grid, ${name}`, () => {
      const levels = 16;
      const chosen = leastErrorRange(mass, levels);
      let least = Number.POSITIVE_INFINITY;
      for (let below = 0; below <= 60; below += 1) {
        for (let above = 1; above <= 60; above += 1) {
          const range = { low: (Math.min(0, mass.low) * below) / 60, high: (Math.max(0, mass.high) * above) / 60 };
          least = Math.min(least, quantizationError(mass, range, levels));
        }
      }
      expect(quantizationError(mass, chosen, levels)).toBeLessThanOrEqual(1.02 * least);
    });
  }
});
