/** The figures that a budget may name, as fractions of those of the source. */
import type { ModelTiming } from '../timing/whole-model-timing.js';
import type { Cost } from './budget/model-cost.js';
import type { PruningBudget } from './options.js';

export type Figure = keyof PruningBudget;

/** Fractions by figure; latency is missing where nothing was timed. */
export type Reached = Readonly<Record<Exclude<Figure, 'latency'>, number>> & { readonly latency?: number };

export function reachedFractions(cost: Cost, source: Cost, timing?: ModelTiming): Reached {
  const fraction = (figure: keyof Cost): number => (source[figure] > 0 ? cost[figure] / source[figure] : 1);
  return {
    ...{ macs: fraction('macs'), parameters: fraction('parameters'), bytes: fraction('bytes') },
    ...(timing ? { latency: timing.after / timing.before } : {}),
  };
}

/** The largest of reached / asked: above 1 a budget is missed. Figures that are not known count as kept. */
export function budgetUse(reached: Reached, asked: PruningBudget): number {
  const uses = figuresOf(asked).map((figure) => (reached[figure] ?? 0) / (asked[figure] ?? 1));
  return Math.max(0, ...uses);
}

/** A latency that is off by less than this is noise of the measurement. */
const TIMING_TOLERANCE = 1.02;

/** The budget, latency with the noise of its measurement. */
export function tolerant(asked: PruningBudget): PruningBudget {
  return asked.latency === undefined ? asked : { ...asked, latency: asked.latency * TIMING_TOLERANCE };
}

export function keepsBudget(reached: Reached, asked: PruningBudget): boolean {
  return budgetUse(reached, tolerant(asked)) <= 1 + 1e-9;
}

export function figuresOf(asked: PruningBudget): Figure[] {
  return (['macs', 'parameters', 'bytes', 'latency'] as const).filter((figure) => asked[figure] !== undefined);
}

/** A budget that lets only `share` of what it asks for be removed: 1 is the budget itself, 0 asks for nothing. */
export function relaxed(asked: PruningBudget, share: number): PruningBudget {
  return Object.fromEntries(figuresOf(asked).map((figure) => [figure, 1 - share * (1 - (asked[figure] ?? 1))]));
}

/** For the report: "47.2 % of the multiply-accumulates". */
export function described(figure: Figure, fraction: number): string {
  const words = { macs: 'multiply-accumulates', parameters: 'weights', bytes: 'bytes', latency: 'latency' } as const;
  return `${(100 * fraction).toFixed(1)} % of the ${words[figure]}`;
}
