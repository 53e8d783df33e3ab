/** Distances between answers: closed forms, and brute force for the transport. */
import { describe, expect, test } from 'vitest';
import { type Answers, type OutputDistance, outputDistance } from '../../../../services/engine/distribution-aware/output-distance.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';

const kinds: OutputDistance[] = ['error', 'kl', 'wasserstein', 'moments'];
const of = (values: readonly number[]): Answers => ({ samples: values.length, values: Float32Array.from(values) });

describe('output distance', () => {
  const random = pseudoRandom(3);
  const values = Array.from({ length: 400 }, () => random.normal());

  test.each(kinds)('%s is 0 for equal answers and grows with a shift', (kind) => {
    const shifted = (by: number): number => outputDistance(of(values), of(values.map((value) => value + by)), kind);
    expect(shifted(0)).toBe(0);
    expect(shifted(0.1)).toBeGreaterThan(0);
    expect(shifted(1)).toBeGreaterThan(shifted(0.1));
  });

  test.each(['kl', 'wasserstein', 'moments'] as const)('%s sees the distribution and not the order', (kind) => {
    expect(outputDistance(of(values), of(values.toReversed()), kind)).toBeCloseTo(0, 12);
    expect(outputDistance(of(values), of(values.toReversed()), 'error')).toBeGreaterThan(1);
  });

  test('of a shift s of answers with deviation d: error and moments (s/d)^2, Wasserstein |s|/d', () => {
    const base = [0, 2, 0, 2, 0, 2, 0, 2];
    const found = base.map((value) => value + 0.5);
    expect(outputDistance(of(base), of(found), 'error')).toBeCloseTo(0.25, 6);
    expect(outputDistance(of(base), of(found), 'moments')).toBeCloseTo(0.25, 6);
    expect(outputDistance(of(base), of(found), 'wasserstein')).toBeCloseTo(0.5, 6);
  });

  test('Wasserstein-1 is the cheapest matching', () => {
    const x = [0, 1, 5, 2];
    const y = [4, 1, 0, 3];
    const matchings = permutations([0, 1, 2, 3]);
    const cheapest = Math.min(
      ...matchings.map((order) => order.reduce((sum, to, from) => sum + Math.abs((x[from] ?? 0) - (y[to] ?? 0)), 0)),
    );
    const deviation = Math.sqrt(x.reduce((sum, value) => sum + (value - 2) ** 2, 0) / 4);
    expect(outputDistance(of(x), of(y), 'wasserstein')).toBeCloseTo(cheapest / 4 / deviation, 6);
  });

  test('is the mean over the elements, each in units of its own spread', () => {
    const pairs: Answers = { samples: 4, values: Float32Array.from([0, 0, 2, 200, 0, 0, 2, 200]) };
    const found: Answers = { samples: 4, values: Float32Array.from([1, 100, 3, 300, 1, 100, 3, 300]) };
    expect(outputDistance(pairs, found, 'error')).toBeCloseTo(1, 6);
  });
});

function permutations(items: readonly number[]): number[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item) => permutations(items.filter((other) => other !== item)).map((rest) => [item, ...rest]));
}
