/** The statistics of the benchmark, against closed forms and exact integer arithmetic. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { binomialTail, equalCount, mcnemar, mean, SQNR_MAX_DB, sqnrDb, topClasses } from '../../../bench/quantization/statistics.js';

describe('sqnrDb', () => {
  test('an error of a tenth of every value is 20 dB, whatever the values are', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.1, max: 1e3, noNaN: true }), { minLength: 1 }), (values) => {
        const off = values.map((value) => value * 1.1);
        expect(sqnrDb(values, off)).toBeCloseTo(20, 6);
      }),
    );
  });

  test('is over all samples together, not a mean of samples', () => {
    expect(sqnrDb([100, 1], [100, 0])).toBeCloseTo(10 * Math.log10(10_001), 9);
  });

  test('equal outputs have the largest figure, and lengths must agree', () => {
    expect(sqnrDb([1, 2], [1, 2])).toBe(SQNR_MAX_DB);
    expect(() => sqnrDb([1], [1, 2])).toThrow(RangeError);
  });
});

/** min(1, 2 P(X <= k)) in exact integers. */
function exactTail(n: number, k: number): number {
  let [term, sum] = [1n, 0n];
  for (let i = 0; i <= k; i++) {
    sum += term;
    term = (term * BigInt(n - i)) / BigInt(i + 1);
  }
  const scale = 10n ** 18n;
  return Math.min(1, Number((2n * sum * scale) / 2n ** BigInt(n)) / 1e18);
}

describe('mcnemar', () => {
  test('is the exact binomial probability', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 400 }), fc.double({ min: 0, max: 0.5, noNaN: true }), (n, share) => {
        const k = Math.floor(n * share);
        expect(binomialTail(n, k)).toBeCloseTo(exactTail(n, k), 9);
      }),
    );
  });

  test('known values: 1 against 9 of ten is 0.0215; no disagreement is 1', () => {
    expect(binomialTail(10, 1)).toBeCloseTo(22 / 1024, 12);
    expect(binomialTail(0, 0)).toBe(1);
    expect(binomialTail(5000, 2300)).toBeLessThan(1e-7);
  });

  test('counts only the samples that one of the two answers rightly, and does not care which comes first', () => {
    const labels = [0, 1, 2, 3, 4, 5];
    const first = [0, 1, 2, 9, 9, 5];
    const second = [0, 9, 9, 3, 9, 5];
    expect(mcnemar(first, second, labels)).toEqual({ only_first: 2, only_second: 1, p: binomialTail(3, 1) });
    expect(mcnemar(second, first, labels).p).toBe(mcnemar(first, second, labels).p);
    expect(mcnemar(first, first, labels)).toEqual({ only_first: 0, only_second: 0, p: 1 });
  });
});

test('the top class is the first of the largest scores of a row', () => {
  expect([...topClasses([0, 3, 3, 7, 1, 2], 3)]).toEqual([1, 0]);
});

test('agreement is counted over the first samples only, when asked', () => {
  expect(equalCount([1, 2, 3], [1, 0, 3])).toBe(2);
  expect(equalCount([1, 2, 3], [1, 0, 3], 2)).toBe(1);
  expect(mean([1, 2, 6])).toBe(3);
});
