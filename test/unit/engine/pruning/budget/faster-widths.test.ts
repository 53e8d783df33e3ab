/** Faster widths for a little more cost: within the budget and the cost, on allowed widths, never slower. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { chooseWidths } from '../../../../../services/engine/pruning/budget/choose-widths.js';
import { fasterWidths } from '../../../../../services/engine/pruning/budget/faster-widths.js';
import { widthLadder } from '../../../../../services/engine/pruning/budget/width-ladder.js';
import { removalOf } from '../../../../../services/engine/pruning/budget/width-problem.js';
import type { RemovalOrder } from '../../../../../services/engine/pruning/importance/removal-order.js';
import { removeScratch } from '../../quantization/method-fixtures.js';
import { analyzed, fullWidths, orderFromFirst } from '../small-network.js';

afterAll(removeScratch);

const { groups } = await analyzed(fullWidths);
const share = (removed: ArrayLike<number>, at: number): number => 1 - (removed[at] ?? 0) / (groups[at]?.units.length ?? 1);

/** Convex costs; the budgeted figure hardly feels the last group, on which most of the time depends. */
function problemWith(slopes: readonly number[], limit: number) {
  const orders = groups.map((group, at): RemovalOrder => {
    const order = orderFromFirst(group);
    return { ...order, costs: order.costs.map((step) => (slopes[at] ?? 1) * (step / order.steps.length) ** 2) };
  });
  const ladders = orders.map((order) => widthLadder(order, { roundTo: 1, minChannels: 1, maxRemoved: 0.9 }));
  const kept = (removed: ArrayLike<number>): number =>
    0.7 * share(removed, 0) * share(removed, 1) + 0.25 * share(removed, 0) + 0.05 * share(removed, 2);
  const saved = (removed: ArrayLike<number>): number => 1 - 0.2 * share(removed, 0) - 0.2 * share(removed, 1) - 0.6 * share(removed, 2);
  return { orders, ladders, ranking: 'global', kept, limit, saved } as const;
}

const costOf = (orders: readonly RemovalOrder[], steps: readonly number[]): number =>
  orders.reduce((sum, { costs }, at) => sum + (costs[steps[at] ?? 0] ?? 0), 0);

describe('fasterWidths', () => {
  test('keep the budget, the cost and the ladders, and save no less time', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.3, max: 0.9, noNaN: true }),
        fc.double({ min: 1, max: 2, noNaN: true }),
        fc.array(fc.double({ min: 0.1, max: 5, noNaN: true }), { minLength: 3, maxLength: 3 }),
        (limit, ratio, slopes) => {
          const problem = problemWith(slopes, limit);
          const { steps } = chooseWidths({ ...problem, saved: (removed) => 1 - problem.kept(removed) });
          const costMax = ratio * costOf(problem.orders, steps);
          const faster = fasterWidths(problem, steps, costMax);
          expect(faster.every((step, at) => problem.ladders[at]?.includes(step))).toBe(true);
          expect(costOf(problem.orders, faster)).toBeLessThanOrEqual(costMax + 1e-9);
          expect(problem.kept(removalOf(problem.orders, faster))).toBeLessThanOrEqual(limit);
          expect(problem.saved(removalOf(problem.orders, faster))).toBeGreaterThanOrEqual(problem.saved(removalOf(problem.orders, steps)));
        },
      ),
      { numRuns: 60 },
    );
  });

  test('take units out of a group that costs next to nothing and takes most of the time, though the budget is kept without', () => {
    const problem = problemWith([1, 1, 0.001], 0.6);
    const { steps } = chooseWidths({ ...problem, saved: (removed) => 1 - problem.kept(removed) });
    const faster = fasterWidths(problem, steps, 1.2 * costOf(problem.orders, steps));
    expect(faster[2]).toBe(problem.ladders[2]?.at(-1));
    expect(problem.saved(removalOf(problem.orders, faster))).toBeGreaterThan(0.5);
  });

  test('are those that were given where these miss the budget', () => {
    const problem = problemWith([1, 1, 1], 0.001);
    const { steps } = chooseWidths(problem);
    expect(fasterWidths(problem, steps, 10)).toEqual(steps);
  });
});
