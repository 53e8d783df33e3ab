/** How many units each group loses, so that a budget is kept at the least cost. */
import { rankUnits } from '../importance/rank-units.js';
import { type Move, Rungs } from './rungs.js';
import { removalOf, type WidthProblem } from './width-problem.js';

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

/** Exchanges between two groups; each makes the widths cheaper, and the first ones make most of the difference. */
const EXCHANGES_MAX = 64;
/** Two moves together keep a little less or more than their sum tells. */
const EXCHANGE_SLACK = 1.01;

/**
 * Greedy by marginal ratio, as for bits (quantization/sensitivity/search.ts), but with the savings worked out anew for each step,
 * as the layers of two groups are worth less when one of them is narrow: always the step with the least cost per saving. When the
 * budget is kept, what can be given back within it is, the most costly first, and groups exchange units while that is cheaper.
 */
function cheapestSteps(problem: WidthProblem): number[] {
  const rungs = new Rungs(problem);
  while (rungs.kept() > problem.limit) {
    const move = bestMove(rungs);
    if (!move) return rungs.steps();
    rungs.make(move);
  }
  giveBack(rungs, problem.limit);
  for (let exchanges = 0; exchanges < EXCHANGES_MAX; exchanges += 1) {
    const exchange = bestExchange(rungs, problem.limit);
    if (!exchange) break;
    rungs.make(...exchange);
    giveBack(rungs, problem.limit);
  }
  return rungs.steps();
}

function bestMove(rungs: Rungs): Move | undefined {
  const present = rungs.saved();
  let best: { readonly move: Move; readonly price: number } | undefined;
  for (const move of rungs.movesDown()) {
    const gain = rungs.saved(rungs.with(move)) - present;
    if (gain <= 0) continue;
    const price = rungs.added(move) / gain;
    if (!best || price < best.price) best = { move, price };
  }
  return best?.move;
}

function giveBack(rungs: Rungs, limit: number): void {
  for (;;) {
    const [best] = [...rungs.movesUp()]
      .filter((move) => rungs.added(move) < 0 && rungs.kept(rungs.with(move)) <= limit)
      .sort((a, b) => rungs.added(a) - rungs.added(b));
    if (!best) return;
    rungs.make(best);
  }
}

/**
 * One group gets units back and another one gives some, so that the budget is kept, no less is saved and the cost falls most. What the
 * two moves change is first taken to add up, and worked out for those that may do.
 */
function bestExchange(rungs: Rungs, limit: number): readonly [Move, Move] | undefined {
  const present = { kept: rungs.kept(), saved: rungs.savesOtherwise ? rungs.saved() : 0 };
  const weighed = (move: Move) => ({ move, added: rungs.added(move), kept: rungs.kept(rungs.with(move)) });
  const ups = [...rungs.movesUp()].map(weighed);
  const downs = [...rungs.movesDown()].map(weighed);
  const pairs = ups.flatMap((up) =>
    downs.flatMap((down) => {
      const added = up.added + down.added;
      const isHopeless = added >= -1e-12 || up.kept + down.kept - present.kept > limit * EXCHANGE_SLACK;
      return isHopeless || up.move.order === down.move.order ? [] : [{ moves: [up.move, down.move] as const, added }];
    }),
  );
  pairs.sort((a, b) => a.added - b.added);
  return pairs.find(({ moves }) => {
    const at = rungs.with(...moves);
    return rungs.added(...moves) < -1e-12 && rungs.kept(at) <= limit && (!rungs.savesOtherwise || rungs.saved(at) >= present.saved);
  })?.moves;
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
