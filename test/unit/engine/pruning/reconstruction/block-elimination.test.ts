/** Costs and refitted weights of the greedy block form, against refitting by brute force. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../../services/engine/ir/index.js';
import { inverseOfPositive } from '../../../../../services/engine/normal-equations/linear-algebra.js';
import { BlockElimination } from '../../../../../services/engine/pruning/reconstruction/block-elimination.js';
import { noise } from '../../quantization/method-fixtures.js';
import { randomGram } from '../../quantization/random-gram.js';

const problem = fc.record({
  blocks: fc.integer({ min: 2, max: 5 }),
  size: fc.integer({ min: 1, max: 3 }),
  outputs: fc.integer({ min: 1, max: 4 }),
  seed: fc.nat(1000),
});

interface Fit {
  readonly weights: Float64Array;
  readonly error: number;
}

/** min over W' that are 0 outside `kept` of sum (w - w')^T H (w - w'): W' = W H_:K (H_KK)^-1. */
function bruteForce(weights: Float64Array, h: Float64Array, depth: number, kept: readonly number[]): Fit {
  const part = Float64Array.from({ length: kept.length ** 2 }, (_, at) => {
    const [i, j] = [kept[Math.floor(at / kept.length)] ?? 0, kept[at % kept.length] ?? 0];
    return h[i * depth + j] ?? 0;
  });
  const inverse = inverseOfPositive(part, kept.length) ?? new Float64Array();
  const fitted = new Float64Array(weights.length);
  let error = 0;
  for (let start = 0; start < weights.length; start += depth) {
    const right = kept.map((column) => {
      let sum = 0;
      for (let k = 0; k < depth; k += 1) sum += (weights[start + k] ?? 0) * (h[k * depth + column] ?? 0);
      return sum;
    });
    for (const [i, column] of kept.entries())
      fitted[start + column] = right.reduce((sum, value, j) => sum + value * (inverse[i * kept.length + j] ?? 0), 0);
    for (let i = 0; i < depth; i += 1) {
      for (let j = 0; j < depth; j += 1) {
        const [di, dj] = [i, j].map((k) => (weights[start + k] ?? 0) - (fitted[start + k] ?? 0));
        error += (di ?? 0) * (dj ?? 0) * (h[i * depth + j] ?? 0);
      }
    }
  }
  return { weights: fitted, error };
}

describe('BlockElimination', () => {
  it('costs what refitting all that remains costs, block after block, and ends with its weights', () => {
    fc.assert(
      fc.property(problem, ({ blocks: count, size, outputs, seed }) => {
        const depth = count * size;
        const covariance = randomGram(depth, depth + 10, { seed });
        const weights = Float64Array.from(float32Values(noise([outputs, depth], seed + 1)));
        const blocks = Array.from({ length: count }, (_, block) => Array.from({ length: size }, (_, at) => block * size + at));
        const trace = Array.from({ length: depth }, (_, k) => covariance[k * depth + k] ?? 0).reduce((a, b) => a + b, 0);
        const h = covariance.map((value, at) => (at % (depth + 1) === 0 ? value + (1e-4 * trace) / depth : value));
        const elimination = new BlockElimination({ weights, outputs, covariance, depth, blocks });
        let total = 0;
        for (let block = 0; block + 1 < count; block += 1) {
          for (let other = block; other < count; other += 1) {
            const kept = blocks.flatMap((own, at) => (at < block || at === other ? [] : own));
            const { error } = bruteForce(weights, h, depth, kept);
            expect(Math.abs(total + elimination.cost(other) - error)).toBeLessThan(1e-6 * (1 + error));
          }
          total += elimination.cost(block);
          elimination.remove(block);
          const expected = bruteForce(weights, h, depth, blocks.slice(block + 1).flat());
          for (const [at, value] of expected.weights.entries()) expect(elimination.weights[at]).toBeCloseTo(value, 5);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('removes a block for nothing whose inputs are those of another one', () => {
    const covariance = Float64Array.of(2, 2, 0, 2, 2, 0, 0, 0, 1);
    const elimination = new BlockElimination({
      ...{ weights: Float64Array.of(1, 2, 1), outputs: 1, depth: 3 },
      covariance,
      blocks: [[0], [1], [2]],
    });
    expect(elimination.cost(0)).toBeLessThan(1e-3);
    expect(elimination.cost(2)).toBeGreaterThan(0.9);
    elimination.remove(0);
    expect(elimination.weights[1]).toBeCloseTo(3, 2);
    expect(elimination.weights[0]).toBe(0);
  });

  it('knows the variance of what the layer computes', () => {
    const elimination = new BlockElimination({
      ...{ weights: Float64Array.of(1, 2, 0, 1), outputs: 2, depth: 2, blocks: [[0], [1]] },
      covariance: Float64Array.of(2, 1, 1, 3),
    });
    expect(elimination.energy).toBeCloseTo(2 + 2 * 2 + 4 * 3 + 3, 12);
  });
});
