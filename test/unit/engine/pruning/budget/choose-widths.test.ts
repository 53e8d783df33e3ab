/** Widths under a budget: kept at the least cost, against trying all of them; allowed widths only. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { chooseWidths } from '../../../../../services/engine/pruning/budget/choose-widths.js';
import { widthAfter, widthLadder } from '../../../../../services/engine/pruning/budget/width-ladder.js';
import { removalOf } from '../../../../../services/engine/pruning/budget/width-problem.js';
import type { RemovalOrder } from '../../../../../services/engine/pruning/importance/removal-order.js';
import { removeScratch } from '../../quantization/method-fixtures.js';
import { analyzed, fullWidths, orderFromFirst } from '../small-network.js';

afterAll(removeScratch);

const { groups } = await analyzed(fullWidths);
const free = { roundTo: 1, minChannels: 1, maxRemoved: 0.99 };

/** Orders with convex costs, as removing the least important first gives them. */
function ordersWith(slopes: readonly number[]): RemovalOrder[] {
  return groups.map((group, at) => {
    const order = orderFromFirst(group);
    return { ...order, costs: order.costs.map((step) => (slopes[at] ?? 1) * (step / order.steps.length) ** 2) };
  });
}

/** A figure like multiply-accumulates: a product of two groups, and one alone. */
function kept(removed: ArrayLike<number>): number {
  const share = (at: number): number => 1 - (removed[at] ?? 0) / (groups[at]?.units.length ?? 1);
  return 0.6 * share(0) * share(1) + 0.2 * share(0) + 0.2 * share(2);
}

const costOf = (orders: readonly RemovalOrder[], steps: readonly number[]): number =>
  orders.reduce((sum, { costs }, at) => sum + (costs[steps[at] ?? 0] ?? 0), 0);

describe('widths under a budget', () => {
  test.each(['global', 'per-layer', 'isomorphic'] as const)('%s: keep every budget that the ladders can keep', (ranking) => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.25, max: 1, noNaN: true }),
        fc.constantFrom(1, 4, 8, 16),
        fc.tuple(fc.double({ min: 0.1, max: 9, noNaN: true }), fc.double({ min: 0.1, max: 9, noNaN: true })),
        (limit, roundTo, [first, second]) => {
          const orders = ordersWith([first, second, 1]);
          const ladders = orders.map((order) => widthLadder(order, { ...free, roundTo }));
          const chosen = chooseWidths({ orders, ladders, ranking, kept, limit });
          expect(chosen.steps.every((step, at) => ladders[at]?.includes(step))).toBe(true);
          expect(chosen.kept).toBe(kept(removalOf(orders, chosen.steps)));
          const least = kept(
            removalOf(
              orders,
              ladders.map((ladder) => ladder.at(-1) ?? 0),
            ),
          );
          if (least <= limit) expect(chosen.kept).toBeLessThanOrEqual(limit);
          else expect(chosen.kept).toBe(least);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('global: costs at most a quarter more than the best of all choices', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0.3, max: 0.8, noNaN: true }),
        fc.tuple(fc.double({ min: 0.2, max: 5, noNaN: true }), fc.double({ min: 0.2, max: 5, noNaN: true })),
        (limit, [first, second]) => {
          const orders = ordersWith([first, second, 1]);
          const ladders = orders.map((order) => widthLadder(order, { ...free, roundTo: 2 }));
          let best = Number.POSITIVE_INFINITY;
          for (const a of ladders[0] ?? [])
            for (const b of ladders[1] ?? [])
              for (const c of ladders[2] ?? [])
                if (kept(removalOf(orders, [a, b, c])) <= limit) best = Math.min(best, costOf(orders, [a, b, c]));
          const chosen = chooseWidths({ orders, ladders, ranking: 'global', kept, limit });
          expect(costOf(orders, chosen.steps)).toBeLessThanOrEqual(1.25 * best + 1e-9);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('per-layer: each group loses the same share, within one unit of the narrowest', () => {
    const orders = ordersWith([9, 0.1, 1]);
    const ladders = orders.map((order) => widthLadder(order, free));
    const { steps } = chooseWidths({ orders, ladders, ranking: 'per-layer', kept, limit: 0.5 });
    const shares = steps.map((step, at) => step / (groups[at]?.units.length ?? 1));
    expect(Math.max(...shares) - Math.min(...shares)).toBeLessThan(0.05);
  });

  test('savings decide where the widths are taken, whatever the budget is of', () => {
    const orders = ordersWith([1, 1, 1]);
    const ladders = orders.map((order) => widthLadder(order, free));
    const saved = (removed: ArrayLike<number>): number => (removed[2] ?? 0) + 1e-6 * ((removed[0] ?? 0) + (removed[1] ?? 0));
    const { steps } = chooseWidths({ orders, ladders, ranking: 'global', kept, limit: 0.9, saved });
    expect(steps[2]).toBeGreaterThan(0);
    expect(steps.slice(0, 2)).toEqual([0, 0]);
  });
});

describe('the widths that a group may have', () => {
  const [stream] = groups;
  if (!stream) throw new Error('the network has groups');
  const order = orderFromFirst(stream);

  test.each([
    [{ roundTo: 8, maxRemoved: 0.99 }, [32, 24, 16, 8]],
    [{ roundTo: 16, maxRemoved: 0.99 }, [32, 16]],
    [{ roundTo: 12, maxRemoved: 0.99 }, [32, 24, 12]],
    [{ roundTo: 4, maxRemoved: 0.5 }, [32, 28, 24, 20, 16]],
    [{ roundTo: 8, maxRemoved: 0.99, minChannels: 20 }, [32, 24]],
    [{ roundTo: 64, maxRemoved: 0.99 }, [32]],
  ] as const)('%j: %j', (rules, widths) => {
    expect(widthLadder(order, rules).map((step) => widthAfter(stream, step))).toEqual(widths);
  });

  test('parts are rounded each for itself; heads are not rounded', () => {
    const halves = [0, 1].map((half) => Array.from({ length: 16 }, (_, at) => 16 * half + at));
    const parted = { ...stream, parts: halves };
    const steps = Array.from({ length: 15 }, (_, at) => halves.map((part) => part[at] ?? 0));
    const ladder = widthLadder({ group: parted, steps, costs: new Float64Array(16) }, { roundTo: 8, minChannels: 1, maxRemoved: 0.99 });
    expect(ladder.map((step) => widthAfter(parted, step))).toEqual([16, 8]);
    const heads = { ...stream, kind: 'heads' as const, units: stream.units.slice(0, 6), parts: [[0, 1, 2, 3, 4, 5]] };
    const few = { group: heads, steps: order.steps.slice(0, 5), costs: order.costs.slice(0, 6) };
    expect(widthLadder(few, { roundTo: 16, maxRemoved: 0.99 })).toEqual([0, 1, 2, 3, 4, 5]);
  });
});
