/** Ranks under a budget: planned by what they lose, measured, and planned again without the layers that gain no time. */
import { EngineError } from '../engine-errors.js';
import type { MethodContext } from '../method.js';
import type { BudgetedModel, BudgetFigure } from './budget-figure.js';
import type { Candidate } from './candidates.js';
import { type LayerTime, type MeasuredForms, measureForms } from './measured-forms.js';
import type { OutputNoise } from './output-sensitivity.js';
import { ranksWithin } from './rank-budget.js';

/** Plans that are measured: layers that turn out slower give their share to the others. */
const ROUNDS = 3;

type Choice = ReadonlyMap<string, Candidate>;

export interface Budget {
  readonly figure: BudgetFigure;
  /** What a lost share of a layer's energy counts. */
  readonly noise: OutputNoise;
}

/** Throws EngineError `recipe_invalid` when no ranks keep the budget. */
export function plannedChoice(request: BudgetedModel, budget: Budget): Choice {
  const plan = planned(request, budget, new Set());
  if (plan) return plan;
  const { figure } = budget;
  const cheapest = [...request.offers].flatMap(([name, { candidates }]) => {
    const [first] = [...candidates].sort((a, b) => figure.costOf(a.cost) - figure.costOf(b.cost));
    return first ? [[name, first] as const] : [];
  });
  const reached = figure.reached(new Map(cheapest)).toFixed(3);
  throw new EngineError(
    'recipe_invalid',
    `A budget of ${figure.asked} of the ${figure.figure} cannot be kept: the lowest ranks leave ${reached}. Raise the budget, or lower multiple_of.`,
  );
}

/** The last plan, less the layers that are not faster; null when no inputs are known that the model runs on. */
export async function measuredChoice(request: BudgetedModel, budget: Budget, context: MethodContext): Promise<MeasuredForms | null> {
  const times = new Map<string, LayerTime>();
  const slower = new Map<string, Candidate>();
  let plan = plannedChoice(request, budget);
  for (let round = 1; ; round += 1) {
    const measured = await measureForms(request.model, new Map([...plan].map(([name, each]) => [name, [each]])), context);
    if (!measured) return null;
    for (const [name, time] of measured.times) times.set(name, time);
    for (const [name, each] of measured.slower) slower.set(name, each);
    const next = measured.slower.size > 0 && round < ROUNDS ? planned(request, budget, new Set(slower.keys())) : null;
    if (!next) return { chosen: measured.chosen, times, slower };
    plan = next;
  }
}

/** The least loss under the budget with the layers `without` as they are; null when that is not enough. */
function planned({ offers }: BudgetedModel, { figure, noise }: Budget, without: ReadonlySet<string>): Choice | null {
  const open = [...offers].filter(([name]) => !without.has(name));
  const layers = open.map(([name, { dense, candidates }]) => ({
    full: figure.costOf(dense),
    options: candidates.map((candidate) => ({ cost: figure.costOf(candidate.cost), lost: noise(name, candidate.lost), candidate })),
  }));
  let room = layers.reduce((sum, { full }) => sum + full, 0) - (1 - figure.asked) * figure.total;
  for (;;) {
    const options = ranksWithin(layers, room);
    if (!options) return null;
    const plan = new Map(options.flatMap((option, at) => (option ? [[open[at]?.[0] ?? '', option.candidate] as const] : [])));
    // What the plan left out, names and nodes, is taken from the room.
    const excess = (figure.reached(plan) - figure.asked) * figure.total;
    if (excess <= figure.total * Number.EPSILON) return plan;
    room -= excess;
  }
}
