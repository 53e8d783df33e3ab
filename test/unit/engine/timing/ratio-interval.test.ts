/** Order statistics of what was timed. */
import { describe, expect, test } from 'vitest';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { isKnownForWhatItSays, quantile, ratioInterval } from '../../../../services/engine/timing/ratio-interval.js';

describe('quantile', () => {
  test.each([
    [[1, 2, 3, 4], 0.5, 2.5],
    [[1, 2, 3], 0.5, 2],
    [[0, 10], 0.9, 9],
    [[7], 0.9, 7],
    [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 0.9, 10],
  ])('of %j at %d is %d', (sorted, q, expected) => {
    expect(quantile(sorted, q)).toBeCloseTo(expected, 12);
  });
});

describe('ratioInterval', () => {
  test('holds the median of what it was drawn from in 95 of 100 samples, whatever the distribution', () => {
    const random = pseudoRandom(7);
    const draw = (): number => Math.exp(3 * random.uniform() ** 4);
    const truth = Math.exp(3 * 0.5 ** 4);
    const held = Array.from({ length: 2000 }, () => ratioInterval(Array.from({ length: 25 }, draw))).filter(
      (interval) => interval !== null && interval.low <= truth && truth <= interval.high,
    );
    expect(held.length / 2000).toBeGreaterThan(0.94);
    expect(held.length / 2000).toBeLessThan(0.99);
  });
});

describe('isKnownForWhatItSays', () => {
  test.each([
    ['a tie within the share', { low: 0.99, high: 1.01 }, true],
    ['a tie that is wider', { low: 0.97, high: 1.02 }, false],
    ['a small gain needs the share', { low: 1.05, high: 1.1 }, false],
    ['twice the speed, within a tenth of that', { low: 1.95, high: 2.15 }, true],
    ['half the speed, within a tenth of that', { low: 0.47, high: 0.5 }, true],
    ['twice the speed or hardly any gain', { low: 1.1, high: 2 }, false],
  ])('%s', (_, interval, known) => {
    expect(isKnownForWhatItSays(interval, 0.015)).toBe(known);
  });
});
