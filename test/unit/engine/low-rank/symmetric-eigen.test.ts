import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { symmetricEigen } from '../../../../services/engine/low-rank/symmetric-eigen.js';
import { flipped, randomMatrix, times } from './matrices.js';

/** B diag(d) B^T: symmetric, with as many zero and repeated eigenvalues as `diagonal` brings. */
function symmetric(n: number, seed: number, diagonal: (index: number) => number): Float64Array {
  const b = randomMatrix(n, n, seed);
  const scaled = b.map((value, at) => value * diagonal(at % n));
  return times(scaled, flipped(b, n, n), [n, n, n]);
}

function expectEigen(matrix: Float64Array, n: number): void {
  const { values, vectors } = symmetricEigen(matrix, n);
  const size = Math.max(1e-300, ...matrix.map(Math.abs)) * n;
  const back = times(
    flipped(vectors, n, n).map((value, at) => value * (values[at % n] ?? 0)),
    vectors,
    [n, n, n],
  );
  for (const [at, value] of matrix.entries()) expect(Math.abs((back[at] ?? Number.NaN) - value)).toBeLessThan(1e-13 * size);
  const unit = times(vectors, flipped(vectors, n, n), [n, n, n]);
  for (const [at, value] of unit.entries()) expect(Math.abs(value - (at % (n + 1) === 0 ? 1 : 0))).toBeLessThan(1e-12);
  expect([...values]).toEqual([...values].sort((a, b) => b - a));
}

describe('symmetricEigen', () => {
  it('gives orthonormal rows that make the matrix again, the largest value first, for every size and sign', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(100_000), (n, seed) => {
        expectEigen(
          symmetric(n, seed, (index) => ((index * 7919 + seed) % 11) - 5),
          n,
        );
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ['zero', () => 0],
    ['of rank one', (index: number) => (index === 0 ? 1 : 0)],
    ['of values from 1e-12 to 1e12', (index: number) => 10 ** (index - 12)],
    ['of rank eight with rounding around it', (index: number) => (index < 8 ? index + 1 : 1e-15 * index)],
  ])('takes matrices that are %s', (_, diagonal) => {
    expectEigen(symmetric(25, 3, diagonal), 25);
  });

  it('finds the eigenvalues of the second difference, 2 - 2 cos(k pi / (n + 1))', () => {
    const n = 60;
    const matrix = Float64Array.from({ length: n * n }, (_, at) => {
      const distance = Math.abs(Math.floor(at / n) - (at % n));
      return distance === 0 ? 2 : distance === 1 ? -1 : 0;
    });
    const { values } = symmetricEigen(matrix, n);
    for (const [at, value] of values.entries()) expect(value).toBeCloseTo(2 - 2 * Math.cos(((n - at) * Math.PI) / (n + 1)), 12);
  });

  it('refuses values that are not finite', () => {
    expect(() => symmetricEigen(Float64Array.from([1, Number.NaN, Number.NaN, 1]), 2)).toThrow(RangeError);
  });
});
