import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BudgetedLayer, type RankOption, ranksWithin } from '../../../../services/engine/low-rank/rank-budget.js';

const layers = fc.array(
  fc.record({
    full: fc.integer({ min: 50, max: 100 }),
    options: fc.array(fc.record({ cost: fc.integer({ min: 1, max: 99 }), lost: fc.double({ min: 0, max: 1, noNaN: true }) }), {
      maxLength: 5,
    }),
  }),
  { minLength: 1, maxLength: 4 },
);

/** All choices of each layer together. */
function* everyChoice(all: readonly BudgetedLayer<RankOption>[]): Generator<{ cost: number; lost: number }> {
  const [first, ...others] = all;
  if (!first) {
    yield { cost: 0, lost: 0 };
    return;
  }
  for (const rest of everyChoice(others))
    for (const own of [{ cost: first.full, lost: 0 }, ...first.options]) yield { cost: own.cost + rest.cost, lost: own.lost + rest.lost };
}

function totalOf(all: readonly BudgetedLayer<RankOption>[], chosen: readonly (RankOption | null)[]): { cost: number; lost: number } {
  return all.reduce((sum, { full }, at) => ({ cost: sum.cost + (chosen[at]?.cost ?? full), lost: sum.lost + (chosen[at]?.lost ?? 0) }), {
    cost: 0,
    lost: 0,
  });
}

describe('ranksWithin', () => {
  it('keeps the limit whenever that can be done, and no choice that costs as little loses less', () => {
    fc.assert(
      fc.property(layers, fc.double({ min: 0, max: 1, noNaN: true }), (all, fraction) => {
        const full = all.reduce((sum, layer) => sum + layer.full, 0);
        const limit = fraction * full;
        const chosen = ranksWithin(all, limit);
        const possible = [...everyChoice(all)].some(({ cost }) => cost <= limit);
        expect(chosen !== null).toBe(possible);
        if (!chosen) return;
        const found = totalOf(all, chosen);
        expect(found.cost).toBeLessThanOrEqual(limit);
        for (const other of everyChoice(all)) if (other.cost <= found.cost) expect(found.lost).toBeLessThan(other.lost + 1e-9);
      }),
      { numRuns: 300 },
    );
  });

  it('leaves everything as it is when the limit allows it', () => {
    expect(ranksWithin([{ full: 10, options: [{ cost: 1, lost: 0.1 }] }], 10)).toEqual([null]);
  });
});
