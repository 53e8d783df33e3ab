import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitLastFactor } from '../../../../services/engine/low-rank/last-factor.js';
import { principalFactors } from '../../../../services/engine/low-rank/principal-factors.js';
import { correlatedInputs, difference, flipped, matrixCase, randomMatrix, squares, times } from './matrices.js';

/** W' [channels, depth] of the first `rank` directions. */
function rebuilt(
  { first, last, rank: held }: { first: ArrayLike<number>; last: ArrayLike<number>; rank: number },
  { channels, depth, rank }: { channels: number; depth: number; rank: number },
): Float64Array {
  const columns = Float64Array.from({ length: channels * rank }, (_, at) => last[Math.floor(at / rank) * held + (at % rank)] ?? 0);
  return times(columns, Array.from(first).slice(0, rank * depth), [channels, rank, depth]);
}

/**
 * [depth, count], count > depth: correlated inputs, which span all directions only in exact arithmetic, and behind them a small one
 * along each axis. They are inputs like the others: factors are the best for ALL that their gram was made of.
 */
function spanningInputs(depth: number, count: number, seed: number): Float64Array {
  const samples = count - depth;
  const correlated = correlatedInputs(depth, samples, seed);
  return Float64Array.from({ length: depth * count }, (_, at) => {
    const [row, column] = [Math.floor(at / count), at % count];
    if (column < samples) return correlated[row * samples + column] ?? 0;
    return column - samples === row ? 1e-3 : 0;
  });
}

describe('principalFactors', () => {
  it('loses the sum of the dropped squared singular values, whatever the rank and shape', () => {
    fc.assert(
      fc.property(matrixCase, ({ channels, depth, seed }) => {
        const rows = randomMatrix(channels, depth, seed);
        const full = Math.min(channels, depth);
        const factors = principalFactors({ rows, channels, depth, metric: null }, full);
        expect(factors.energies.reduce((sum, value) => sum + value, 0)).toBeCloseTo(squares(rows), 8);
        for (let rank = 1; rank <= full; rank += 1) {
          const error = squares(difference(rows, rebuilt(factors, { channels, depth, rank })));
          const dropped = factors.energies.slice(rank).reduce((sum, value) => sum + value, 0);
          expect(Math.abs(error - dropped)).toBeLessThan(1e-6 * squares(rows));
        }
      }),
      { numRuns: 40 },
    );
  });

  it('weighed by inputs, loses the same of the outputs, and never more than the factors of the weight alone', () => {
    fc.assert(
      fc.property(matrixCase, ({ channels, depth, seed }) => {
        const rows = randomMatrix(channels, depth, seed);
        const count = 2 * depth + 20;
        const inputs = spanningInputs(depth, count, seed);
        const gram = times(inputs, flipped(inputs, depth, count), [depth, count, depth]);
        const weighted = times(rows, gram, [channels, depth, depth]);
        const full = Math.min(channels, depth);
        const aware = principalFactors({ rows, channels, depth, metric: { gram, weighted } }, full);
        const plain = principalFactors({ rows, channels, depth, metric: null }, full);
        const energy = squares(times(rows, inputs, [channels, depth, count]));
        for (let rank = 1; rank < full; rank += 1) {
          const outputError = (factors: typeof aware): number =>
            squares(times(difference(rows, rebuilt(factors, { channels, depth, rank })), inputs, [channels, depth, count]));
          const dropped = aware.energies.slice(rank).reduce((sum, value) => sum + value, 0);
          expect(Math.abs(outputError(aware) - dropped)).toBeLessThan(1e-5 * energy);
          expect(outputError(aware)).toBeLessThan(outputError(plain) + 1e-6 * energy);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('is far better than the factors of the weight alone where inputs are correlated', () => {
    const [channels, depth, count, rank] = [32, 48, 400, 8];
    const rows = randomMatrix(channels, depth, 5);
    const inputs = correlatedInputs(depth, count, 9);
    const gram = times(inputs, flipped(inputs, depth, count), [depth, count, depth]);
    const metric = { gram, weighted: times(rows, gram, [channels, depth, depth]) };
    const lost = [metric, null].map((each) => {
      const approximation = rebuilt(principalFactors({ rows, channels, depth, metric: each }, rank), { channels, depth, rank });
      return squares(times(difference(rows, approximation), inputs, [channels, depth, count]));
    });
    expect(lost[0]).toBeLessThan(0.1 * (lost[1] ?? 0));
  });

  it('gives both factors the same size, direction by direction', () => {
    const [channels, depth, rank] = [20, 30, 6];
    const { first, last } = principalFactors({ rows: randomMatrix(channels, depth, 1), channels, depth, metric: null }, rank);
    for (let r = 0; r < rank; r += 1) {
      const column = last.filter((_, at) => at % rank === r);
      expect(squares(column) / squares(first.slice(r * depth, (r + 1) * depth))).toBeCloseTo(1, 4);
    }
  });
});

describe('fitLastFactor', () => {
  it('is the least of all last factors, and tells its error', () => {
    fc.assert(
      fc.property(matrixCase, fc.integer({ min: 1, max: 6 }), ({ channels, depth, seed }, size) => {
        const rows = randomMatrix(channels, depth, seed);
        const inputs = randomMatrix(size, depth, seed + 1);
        const samples = correlatedInputs(depth, depth + 30, seed + 2);
        const count = depth + 30;
        const gram = times(samples, flipped(samples, depth, count), [depth, count, depth]);
        const energy = squares(times(rows, samples, [channels, depth, count]));
        const fitted = fitLastFactor({ rows, channels, depth, inputs, gram, energy });
        if (!fitted) throw new Error('nothing was fitted');
        const errorOf = (last: Float64Array): number =>
          squares(times(difference(rows, times(last, inputs, [channels, size, depth])), samples, [channels, depth, count]));
        expect(Math.abs(errorOf(fitted.values) - fitted.error)).toBeLessThan(1e-5 * energy);
        for (let at = 0; at < fitted.values.length; at += 3) {
          for (const step of [-0.01, 0.01]) {
            const moved = fitted.values.slice();
            moved[at] = (moved[at] ?? 0) + step;
            expect(errorOf(moved)).toBeGreaterThan(errorOf(fitted.values) - 1e-6 * energy);
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  it('finds the second factor of the best product again', () => {
    const [channels, depth, rank] = [12, 18, 4];
    const rows = randomMatrix(channels, depth, 3);
    const samples = correlatedInputs(depth, 60, 4);
    const gram = times(samples, flipped(samples, depth, 60), [depth, 60, depth]);
    const metric = { gram, weighted: times(rows, gram, [channels, depth, depth]) };
    const best = principalFactors({ rows, channels, depth, metric }, rank);
    const energy = best.energies.reduce((sum, value) => sum + value, 0);
    const fitted = fitLastFactor({ rows, channels, depth, inputs: Float64Array.from(best.first), gram, energy });
    const dropped = best.energies.slice(rank).reduce((sum, value) => sum + value, 0);
    expect(Math.abs((fitted?.error ?? Number.NaN) - dropped)).toBeLessThan(1e-6 * energy);
  });

  it('has nothing to fit where the first factors give zeros', () => {
    const request = { rows: randomMatrix(3, 4, 1), channels: 3, depth: 4, inputs: new Float64Array(8), energy: 1 };
    expect(fitLastFactor({ ...request, gram: Float64Array.from({ length: 16 }, (_, at) => (at % 5 === 0 ? 1 : 0)) })).toBeNull();
  });
});
