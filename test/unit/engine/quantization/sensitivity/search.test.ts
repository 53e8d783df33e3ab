import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Assignment,
  greedySearch,
  knapsackSearch,
  type LayerChoice,
  totalValue,
  totalWeight,
} from '../../../../../services/engine/quantization/sensitivity/search.js';

type Layers = readonly (readonly LayerChoice[])[];

const layers = fc.array(
  fc.array(fc.record({ value: fc.integer({ min: 0, max: 50 }), weight: fc.integer({ min: 0, max: 40 }) }), { minLength: 1, maxLength: 4 }),
  { minLength: 1, maxLength: 5 },
);
const limit = fc.integer({ min: 0, max: 150 });

function allAssignments(problem: Layers): Assignment[] {
  return problem.reduce<number[][]>((partial, options) => partial.flatMap((each) => options.map((_, index) => [...each, index])), [[]]);
}

/** Least value of all assignments within the limit; undefined when there is none. */
function optimum(problem: Layers, most: number): number | undefined {
  const values = allAssignments(problem).flatMap((each) => (totalWeight(problem, each) <= most ? [totalValue(problem, each)] : []));
  return values.length > 0 ? Math.min(...values) : undefined;
}

describe.each([
  ['greedy', greedySearch],
  ['knapsack', knapsackSearch],
] as const)('%s search', (_name, search) => {
  it('finds an assignment within the limit whenever there is one, and says so when there is none', () => {
    fc.assert(
      fc.property(layers, limit, (problem, most) => {
        const found = search(problem, most);
        if (optimum(problem, most) === undefined) expect(found).toBeNull();
        else {
          expect(found).toHaveLength(problem.length);
          expect(totalWeight(problem, found ?? [])).toBeLessThanOrEqual(most);
        }
      }),
    );
  });

  it('takes the least value of every layer when the limit is no obstacle', () => {
    fc.assert(
      fc.property(layers, (problem) => {
        const least = problem.reduce((sum, options) => sum + Math.min(...options.map(({ value }) => value)), 0);
        expect(totalValue(problem, search(problem, 1e6) ?? [])).toBe(least);
      }),
    );
  });

  it('treats a broken layer as worse than any sum of others', () => {
    const problem = [
      [
        { value: Number.POSITIVE_INFINITY, weight: 1 },
        { value: 1, weight: 4 },
      ],
      [
        { value: 1e9, weight: 1 },
        { value: 0, weight: 4 },
      ],
    ];
    expect(search(problem, 5)).toEqual([1, 0]);
  });
});

describe('the value found', () => {
  it('by greedy search is at most one layer above the optimum', () => {
    fc.assert(
      fc.property(layers, limit, (problem, most) => {
        const found = greedySearch(problem, most);
        const best = optimum(problem, most);
        if (!found || best === undefined) return;
        const span = Math.max(
          ...problem.map((options) => Math.max(...options.map(({ value }) => value)) - Math.min(...options.map(({ value }) => value))),
        );
        expect(totalValue(problem, found)).toBeLessThanOrEqual(best + span);
      }),
    );
  });

  it('by dynamic programming is the optimum of integer weights, whose least difference is above the rounding', () => {
    fc.assert(
      fc.property(layers, limit, (problem, most) => {
        const found = knapsackSearch(problem, most + 0.5);
        const best = optimum(problem, most);
        if (best === undefined) expect(found).toBeNull();
        else expect(totalValue(problem, found ?? [])).toBe(best);
      }),
      { numRuns: 300 },
    );
  });

  it('by dynamic programming beats the greedy one where a step leaves room that another would have filled', () => {
    const problem = [
      [
        { value: 10, weight: 0 },
        { value: 0, weight: 6 },
      ],
      [
        { value: 8, weight: 0 },
        { value: 0, weight: 5 },
      ],
      [
        { value: 8, weight: 0 },
        { value: 0, weight: 5 },
      ],
    ];
    expect(totalValue(problem, greedySearch(problem, 10) ?? [])).toBe(16);
    expect(totalValue(problem, knapsackSearch(problem, 10) ?? [])).toBe(10);
  });
});
