/** Which reduced branches are searched around, and what a timed run teaches of times. */
import { expect, test } from 'vitest';
import type { RemovalOrder } from '../../../../services/engine/pruning/importance/removal-order.js';
import { plansWithReducedBranches, type WidthPlan, withFixedTime } from '../../../../services/engine/pruning/width-plans.js';

const order = (costs: readonly number[], isBranch: boolean): RemovalOrder =>
  ({
    group: { parts: [] },
    steps: costs.slice(1).map(() => []),
    costs: Float64Array.from(costs),
    ...(isBranch ? { branch: {} } : {}),
  }) as unknown as RemovalOrder;

/** One group, then five branches: each form saves 10 us more than the one before, but for the last branch, which saves nothing. */
const orders = [order([0, 1, 2], false), ...[1, 2, 3, 4].map((cost) => order([0, cost, 4 * cost], true)), order([0, 0.1], true)];
const time = { source: 100, at: (removed: ArrayLike<number>) => 100 - 10 * [1, 2, 3, 4].reduce((sum, at) => sum + (removed[at] ?? 0), 0) };
const ladders = orders.map(({ costs }) => [...costs.keys()]);

test('those of the forms that save most for what they cost, each alone and from the start; the others stay free', () => {
  const plans = plansWithReducedBranches({ roundTo: 8, ladders, time }, orders);
  const forced = plans.map((plan) => plan.ladders.flatMap((ladder, at) => (ladder.length === 1 ? [[at, ladder[0]]] : [])));
  // Per 10 us: 1, 2 (branch 1 closed: 4 for 20 us; branch 2 linear), 3.
  expect(forced).toEqual([[[1, 1]], [[1, 2]], [[2, 1]], [[3, 1]]]);
  expect(plans.every(({ roundTo }) => roundTo === 8)).toBe(true);
  expect(plans[0]?.ladders[2]).toEqual([0, 1, 2]);
});

test('none where layers were not timed: nothing tells what a branch saves', () => {
  expect(plansWithReducedBranches({ roundTo: 8, ladders }, orders)).toEqual([]);
});

test('what a run takes beyond its layers is learned once, and never negative', () => {
  const timing = { before: 0.14, after: 0.1 };
  const plan: WidthPlan = { roundTo: 8, ladders, time };
  const learned = withFixedTime(plan, timing);
  expect(learned?.fixed).toBeCloseTo(40);
  expect(withFixedTime(learned ?? plan, timing)).toBeUndefined();
  expect(withFixedTime({ roundTo: 8, ladders }, timing)).toBeUndefined();
  expect(withFixedTime(plan, { before: 0.09, after: 0.05 })?.fixed).toBe(0);
});
