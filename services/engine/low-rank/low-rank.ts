/** Method low-rank: layers become products of thin ones where that loses little and this machine measures a gain. */
import { EngineError } from '../engine-errors.js';
import type { Model } from '../ir/index.js';
import { nameNodes } from '../layers/node-names.js';
import { WeightStore } from '../layers/weight-store.js';
import { type BudgetOutcome, type MethodContext, type MethodOutcome, partOf } from '../method.js';
import { type BoundedFactors, boundLoss } from './bounded-factors.js';
import { BudgetFigure } from './budget-figure.js';
import type { Candidate, RankChoice } from './candidates.js';
import { layerOffers } from './layer-offers.js';
import { findLayers } from './matrix-layers.js';
import { observePositions } from './observed-positions.js';
import type { LowRankOptions } from './options.js';
import { outputNoise } from './output-sensitivity.js';
import { proveFaster } from './proven-factors.js';
import { chooseRanks } from './rank-choices.js';
import { layerLines, nodeLines } from './report-lines.js';
import { writeFactors } from './write-factors.js';

const DEFAULT_FORMS = ['svd', 'spatial-svd', 'tucker'] as const;
/** Ranks that fill the vector registers (methods.md 3.14): 16 floats on x64 with AVX512, two registers of 4 elsewhere. */
const MULTIPLES = { x64: 16, 'x64-vnni': 16, arm64: 8 } as const;
export const DEFAULT_ENERGY = 0.98;

/**
 * Edits `model` in place. Throws EngineError `recipe_invalid` when the options contradict each other and when no ranks keep the
 * budget; the message says what can be reached.
 */
export async function lowRank(model: Model, options: LowRankOptions, context: MethodContext): Promise<MethodOutcome> {
  const choice = rankChoice(options);
  nameNodes(model);
  const search = findLayers(model, new WeightStore(model), options.exclude ?? []);
  const positions = await observePositions(model, context);
  const settings = {
    forms: options.forms ?? DEFAULT_FORMS,
    multiple: options.multiple_of ?? MULTIPLES[context.target],
    activationAware: options.activation_aware ?? true,
    choice,
  };
  const offers = await layerOffers(model, { layers: search.layers, positions, settings }, partOf(context, 0, 0.5));
  const counted = { model, offers, macs: positions.macs };
  const budget = options.budget
    ? { figure: new BudgetFigure(counted, options.budget), noise: await outputNoise(model, offers, partOf(context, 0.5, 0.6)) }
    : null;
  const choices = await chooseRanks(counted, budget, partOf(context, 0.6, 0.7));
  const bounded = await boundLoss({ model, offers, chosen: choices.chosen, leastSqnr: options.min_sqnr_db }, partOf(context, 0.7, 0.9));
  const proven = await proveFaster(model, { chosen: bounded.chosen, choices }, partOf(context, 0.9, 1));
  const facts = { search, offers, choices, settings, reverted: bounded.reverted, proven };
  const outcome = {
    nodes: nodeLines(facts),
    layers: layerLines(facts),
    warnings: bounded.warnings,
    ...(budget ? { budgets: [budgetOutcome(budget.figure, proven.chosen, bounded)] } : {}),
  };
  writeFactors(model, proven.chosen);
  return outcome;
}

function budgetOutcome(budget: BudgetFigure, chosen: ReadonlyMap<string, Candidate>, { reverted }: BoundedFactors): BudgetOutcome {
  const { figure, asked } = budget;
  const reached = budget.reached(chosen);
  return { figure, asked, reached, accepted: reached <= asked * (1 + Number.EPSILON) || reverted.size > 0 };
}

function rankChoice({ rank, energy = DEFAULT_ENERGY, budget }: LowRankOptions): RankChoice {
  const by = rank ?? (budget ? 'budget' : 'energy');
  if (by === 'budget' && !budget)
    throw new EngineError('recipe_invalid', 'low-rank with rank "budget" needs a budget, for example {"macs": 0.5}.');
  if (by !== 'budget' && budget)
    throw new EngineError('recipe_invalid', `low-rank takes a budget or chooses ranks by ${by}: leave out "rank" or "budget".`);
  return by === 'energy' ? { by, energy } : { by };
}
