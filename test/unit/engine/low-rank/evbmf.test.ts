import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bayesianRank } from '../../../../services/engine/low-rank/evbmf.js';
import { principalFactors } from '../../../../services/engine/low-rank/principal-factors.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { times } from './matrices.js';

/** Normal factors of `rank` and noise of this deviation on each element. */
function noisy(rows: number, columns: number, { rank, deviation, seed }: { rank: number; deviation: number; seed: number }): Float64Array {
  const random = pseudoRandom(seed);
  const normal = (count: number): Float64Array => Float64Array.from({ length: count }, () => random.normal());
  const signal = times(normal(rows * rank), normal(rank * columns), [rows, rank, columns]);
  return signal.map((value) => value + deviation * random.normal());
}

function spectrum(rows: Float64Array, channels: number, depth: number): Float64Array {
  return principalFactors({ rows, channels, depth, metric: null }, 0).energies;
}

describe('bayesianRank', () => {
  it('tells the rank and the noise of a low-rank matrix with noise on it, for any shape', () => {
    const cases = fc.record({
      rows: fc.integer({ min: 40, max: 70 }),
      columns: fc.integer({ min: 40, max: 120 }),
      rank: fc.integer({ min: 1, max: 8 }),
      deviation: fc.constantFrom(0.05, 0.2, 0.5),
      seed: fc.nat(100_000),
    });
    fc.assert(
      fc.property(cases, ({ rows, columns, ...matrix }) => {
        const found = bayesianRank(spectrum(noisy(rows, columns, matrix), rows, columns), [rows, columns]);
        expect(found.rank).toBe(matrix.rank);
        expect(Math.sqrt(found.variance) / matrix.deviation).toBeGreaterThan(0.9);
        expect(Math.sqrt(found.variance) / matrix.deviation).toBeLessThan(1.1);
      }),
      { numRuns: 25 },
    );
  });

  it('finds nothing in noise alone, whichever side is the longer one', () => {
    const energies = spectrum(noisy(60, 90, { rank: 0, deviation: 1, seed: 7 }), 60, 90);
    expect(bayesianRank(energies, [60, 90]).rank).toBe(0);
    expect(bayesianRank(energies, [90, 60])).toEqual(bayesianRank(energies, [60, 90]));
  });

  it('does not depend on the scale of the matrix', () => {
    const energies = spectrum(noisy(50, 50, { rank: 5, deviation: 0.3, seed: 3 }), 50, 50);
    const [small, large] = [1e-12, 1e12].map((scale) =>
      bayesianRank(
        energies.map((value) => value * scale),
        [50, 50],
      ),
    );
    expect([small?.rank, large?.rank]).toEqual([5, 5]);
  });

  it('takes an exact low rank for what it is, and an empty matrix for nothing', () => {
    expect(bayesianRank(spectrum(noisy(30, 40, { rank: 6, deviation: 0, seed: 1 }), 30, 40), [30, 40]).rank).toBe(6);
    expect(bayesianRank([0, 0, 0], [3, 5]).rank).toBe(0);
    expect(bayesianRank([], [3, 5]).rank).toBe(0);
  });
});
