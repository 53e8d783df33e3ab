/** How many units each group loses, so that a budget is kept at the least cost. */
import type { Ranking } from '../importance/options.js';
import { rankUnits } from '../importance/rank-units.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import type { Removal } from './constant-sizes.js';

export interface WidthProblem {
  readonly orders: readonly RemovalOrder[];
  /** Allowed steps by order, ascending, 0 first. */
  readonly ladders: readonly (readonly number[])[];
  readonly ranking: Ranking;
  /** The budgeted figure as a fraction of that of the source; falls as more is removed. */
  kept(removed: Removal): number;
  /** The largest fraction that keeps the budget. */
  readonly limit: number;
  /** What a removal is worth: by default what it takes off the budgeted figure. */
  saved?(removed: Removal): number;
}

export interface ChosenWidths {
  /** Steps taken, by order. */
  readonly steps: readonly number[];
  readonly kept: number;
}

/** Within the limit, or as far as the ladders go: `kept` tells. */
export function chooseWidths(problem: WidthProblem): ChosenWidths {
  const steps = problem.ranking === 'global' ? cheapestSteps(problem) : equalShares(problem);
  return { steps, kept: problem.kept(removalOf(problem.orders, steps)) };
}

/** Units gone by group, for steps by order: a step takes one unit of each part. */
export function removalOf(orders: readonly RemovalOrder[], steps: readonly number[]): number[] {
  return orders.map(({ group }, at) => (steps[at] ?? 0) * Math.max(1, group.parts.length));
}

/** Rungs ahead that one step is chosen from: a cost may jump and what is saved come only behind the jump. */
const LOOKAHEAD = 4;

/**
 * Greedy by marginal ratio, as for bits (quantization/sensitivity/search.ts), but with the savings worked out anew for each step,
 * as the layers of two groups are worth less when one of them is narrow: always the step with the least cost per saving. When the
 * budget is kept, what can be given back within it is, the most costly first.
 */
function cheapestSteps(problem: WidthProblem): number[] {
  const { orders, ladders, limit } = problem;
  const at = ladders.map(() => 0);
  const stepsAt = (rungs: readonly number[]): number[] => rungs.map((rung, order) => ladders[order]?.[rung] ?? 0);
  const kept = (rungs: readonly number[]): number => problem.kept(removalOf(orders, stepsAt(rungs)));
  while (kept(at) > limit) {
    const next = bestMove(problem, at);
    if (!next) break;
    at[next.order] = next.rung;
  }
  const costOf = (order: number, rung: number): number => orders[order]?.costs[ladders[order]?.[rung] ?? 0] ?? 0;
  for (;;) {
    const affordable = at
      .map((rung, order) => ({ order, regained: rung > 0 ? costOf(order, rung) - costOf(order, rung - 1) : 0 }))
      .filter(({ order, regained }) => regained > 0 && kept(at.with(order, (at[order] ?? 0) - 1)) <= limit)
      .sort((a, b) => b.regained - a.regained);
    const [best] = affordable;
    if (!best) return stepsAt(at);
    at[best.order] = (at[best.order] ?? 0) - 1;
  }
}

interface Move {
  readonly order: number;
  readonly rung: number;
  /** Cost per saving. */
  readonly price: number;
}

function bestMove({ orders, ladders, ...problem }: WidthProblem, at: readonly number[]): Move | undefined {
  const saved = problem.saved ?? ((removed: Removal) => 1 - problem.kept(removed));
  const removed = removalOf(
    orders,
    at.map((rung, order) => ladders[order]?.[rung] ?? 0),
  );
  const present = saved(removed);
  let best: Move | undefined;
  for (const [order, ladder] of ladders.entries()) {
    const costs = orders[order]?.costs;
    const from = costs?.[ladder[at[order] ?? 0] ?? 0] ?? 0;
    const parts = Math.max(1, orders[order]?.group.parts.length ?? 1);
    for (const ahead of ladder.slice((at[order] ?? 0) + 1, (at[order] ?? 0) + 1 + LOOKAHEAD).keys()) {
      const rung = (at[order] ?? 0) + 1 + ahead;
      const step = ladder[rung] ?? 0;
      const gain = saved(removed.with(order, step * parts)) - present;
      if (gain <= 0) continue;
      const price = ((costs?.[step] ?? 0) - from) / gain;
      if (!best || price < best.price) best = { order, rung, price };
    }
  }
  return best;
}

/** The shortest prefix of one order over all groups (rank-units.ts) that keeps the budget, its widths moved to the next allowed ones. */
function equalShares({ orders, ladders, ranking, kept, limit }: WidthProblem): number[] {
  const ranked = rankUnits(orders, ranking);
  const position = new Map(orders.map((order, at) => [order, at] as const));
  const stepsOf = (length: number): number[] => {
    const taken = orders.map(() => 0);
    for (const { order } of ranked.slice(0, length)) taken[position.get(order) ?? 0] = (taken[position.get(order) ?? 0] ?? 0) + 1;
    return taken.map((count, at) => nearest(ladders[at] ?? [0], count));
  };
  let [low, high] = [0, ranked.length];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (kept(removalOf(orders, stepsOf(middle))) <= limit) high = middle;
    else low = middle + 1;
  }
  return stepsOf(low);
}

function nearest(ladder: readonly number[], count: number): number {
  return ladder.reduce((best, step) => (Math.abs(step - count) < Math.abs(best - count) ? step : best), 0);
}
