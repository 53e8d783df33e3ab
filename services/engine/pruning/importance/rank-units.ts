/** One order over all groups: whatever the budget, it is met by the shortest prefix that meets it. */
import type { PruningGroup } from '../structure/pruning-structure.js';
import type { Ranking } from './options.js';
import type { RemovalOrder } from './removal-order.js';

/** The next units of one group. Steps of one group come in their order. */
export interface RankedStep {
  readonly order: RemovalOrder;
  /** Position in `order.steps`. */
  readonly step: number;
}

/**
 * 'global': by what a step adds to the cost. 'per-layer': by the share of the group that is gone then. 'isomorphic' (Fang et al.,
 * arXiv 2407.04616): by the share that is gone of all groups of its form, ranked against each other.
 */
export function rankUnits(orders: readonly RemovalOrder[], ranking: Ranking): readonly RankedStep[] {
  if (ranking === 'global') return byAddedCost(orders);
  const classes = new Map<string, RemovalOrder[]>();
  for (const [at, order] of orders.entries()) {
    const key = ranking === 'per-layer' ? String(at) : formOf(order.group);
    classes.set(key, [...(classes.get(key) ?? []), order]);
  }
  const shares = [...classes.values()].flatMap((members) => {
    const ranked = byAddedCost(members);
    return ranked.map((step, at) => ({ step, share: (at + 1) / (ranked.length + 1) }));
  });
  return shares.sort((a, b) => a.share - b.share).map(({ step }) => step);
}

/** A step that costs less than one before it in its group counts as that one: it cannot come earlier. */
function byAddedCost(orders: readonly RemovalOrder[]): RankedStep[] {
  const steps = orders.flatMap((order) => {
    let highest = 0;
    return order.steps.map((_, step) => {
      highest = Math.max(highest, (order.costs[step + 1] ?? 0) - (order.costs[step] ?? 0));
      return { order, step, added: highest };
    });
  });
  return steps.sort((a, b) => a.added - b.added).map(({ order, step }) => ({ order, step }));
}

/** Groups have one form when operators of the same kinds hold their units on the same axes. */
function formOf({ kind, units }: PruningGroup): string {
  const members = (units[0]?.members ?? []).map(({ node, role, axis }) => `${role} ${node.opType} ${axis}`);
  return [kind, ...members.sort()].join('; ');
}
