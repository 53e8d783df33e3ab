import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { choleskyInverseUpper, quadraticForm } from '../../../../services/engine/normal-equations/linear-algebra.js';
import { noise } from '../quantization/method-fixtures.js';
import { randomGram } from '../quantization/random-gram.js';

describe('choleskyInverseUpper', () => {
  it('gives an upper triangular U with U H U^T = I, so that H^-1 = U^T U, for sizes within and across panels', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 80 }), fc.nat(1000), (n, seed) => {
        const h = randomGram(n, n + 5, { seed });
        const u = choleskyInverseUpper(h, n);
        expect(u).not.toBeNull();
        const factor = u ?? new Float64Array();
        const uh = new Float64Array(n * n);
        let [below, distance] = [0, 0];
        for (let i = 0; i < n; i += 1) {
          for (let k = 0; k < i; k += 1) below = Math.max(below, Math.abs(factor[i * n + k] ?? 1));
          for (let j = 0; j < n; j += 1)
            for (let k = i; k < n; k += 1) uh[i * n + j] = (uh[i * n + j] ?? 0) + (factor[i * n + k] ?? 0) * (h[k * n + j] ?? 0);
        }
        for (let i = 0; i < n; i += 1) {
          for (let j = 0; j < n; j += 1) {
            let sum = 0;
            for (let k = j; k < n; k += 1) sum += (uh[i * n + k] ?? 0) * (factor[j * n + k] ?? 0);
            distance = Math.max(distance, Math.abs(sum - (i === j ? 1 : 0)));
          }
        }
        expect(below).toBe(0);
        expect(distance).toBeLessThan(1e-7);
      }),
      { numRuns: 25 },
    );
  });

  it('says null of a matrix that is not positive definite, or not of numbers', () => {
    expect(choleskyInverseUpper(Float64Array.of(1, 2, 2, 1), 2)).toBeNull();
    expect(choleskyInverseUpper(Float64Array.of(1, 1, 1, 1), 2)).toBeNull();
    expect(choleskyInverseUpper(Float64Array.of(Number.NaN, 0, 0, 1), 2)).toBeNull();
    expect(choleskyInverseUpper(Float64Array.of(Number.POSITIVE_INFINITY, 0, 0, 1), 2)).toBeNull();
  });
});

describe('quadraticForm', () => {
  it('equals the double sum', () => {
    const n = 17;
    const h = randomGram(n, 20, { seed: 3 });
    const d = Float64Array.from(float32Values(noise([2, n], 4)));
    let expected = 0;
    for (let i = 0; i < n; i += 1) for (let j = 0; j < n; j += 1) expected += (d[n + i] ?? 0) * (h[i * n + j] ?? 0) * (d[n + j] ?? 0);
    expect(quadraticForm(h, d, n, n)).toBeCloseTo(expected, 9);
  });
});
