/** From widths to a pruned and repaired model: at once, or in steps that are ranked and repaired anew. */
import type { Model } from '../ir/index.js';
import { type LayerReport, type MethodContext, type NodeChange, partOf } from '../method.js';
import { branchLines } from './branch-lines.js';
import { budgetUse, figuresOf, type Reached, reachedFractions, relaxed } from './budget-figures.js';
import { composeSurvivors } from './composed-survivors.js';
import type { PruningBudget, StructuredPruningOptions } from './options.js';
import { measuredCost, type PrunedCandidate } from './prune-candidate.js';
import type { PruningStudy } from './pruning-study.js';
import { repairLayers } from './reconstruction/repair-layers.js';
import type { Survivors } from './structure/pruning-structure.js';
import { studyModel } from './study-model.js';
import { WidthSearch } from './width-search.js';

export interface PrunedModel {
  readonly model: Model;
  readonly reached: Reached;
  /** What the repair did to each layer, and how close it came. */
  readonly repaired: readonly NodeChange[];
  readonly layers: readonly LayerReport[];
  /** Lines for the residual branches that are not whole any more. */
  readonly branches: readonly NodeChange[];
}

export interface PruningRequest {
  /** Of the source. */
  readonly study: PruningStudy;
  readonly options: StructuredPruningOptions;
  readonly asked: PruningBudget;
  readonly roundTo: number;
  /** The widths for one step, when they are known already. */
  readonly candidate: PrunedCandidate;
}

export async function pruneOnSchedule(request: PruningRequest, context: MethodContext): Promise<PrunedModel> {
  const { study, options } = request;
  const steps = options.steps ?? 1;
  if (steps === 1) return repaired(request, request.candidate, context);
  let survivors: Survivors = new Map();
  let present = study;
  let last: PrunedModel | undefined;
  for (let step = 1; step <= steps; step += 1) {
    const part = partOf(context, (step - 1) / steps, step / steps);
    if (last) present = await studyModel(last.model, options, part);
    const goal = relativeTo(last?.reached, relaxed(request.asked, step / steps));
    if (budgetUse(fractionsOfOne, goal) <= 1) continue;
    const search = await WidthSearch.open(present, options, { ...part, objective: untimed(request.asked, context) });
    const [trial] = await search.trials(goal, [request.roundTo]);
    if (!trial) break;
    survivors = composeSurvivors(survivors, trial.candidate.survivors);
    const made = await repaired(request, { ...trial.candidate, survivors }, part);
    last = { ...made, branches: [...(last?.branches ?? []), ...made.branches] };
  }
  return last ?? repaired(request, request.candidate, context);
}

/** Widths between the steps are not timed, unless latency is what the budget is of. */
function untimed(asked: PruningBudget, { objective }: MethodContext): MethodContext['objective'] {
  return asked.latency === undefined ? 'size' : objective;
}

const fractionsOfOne: Reached = { macs: 1, parameters: 1, bytes: 1, latency: 1 };

/** A budget in fractions of the source, in fractions of what has been reached. */
function relativeTo(reached: Reached | undefined, asked: PruningBudget): PruningBudget {
  if (!reached) return asked;
  return Object.fromEntries(figuresOf(asked).map((figure) => [figure, Math.min(1, (asked[figure] ?? 1) / (reached[figure] ?? 1))]));
}

async function repaired(
  { study, options }: PruningRequest,
  { model, survivors, branches }: PrunedCandidate,
  context: MethodContext,
): Promise<PrunedModel> {
  const samples = context.calibration;
  const isRepaired = samples !== undefined && (options.repair ?? true);
  const outcome = isRepaired
    ? await repairLayers({ original: study.model, pruned: model, survivors, samples }, context)
    : { nodes: [], layers: [] };
  const cost = await measuredCost(model, study, context);
  return {
    model,
    reached: reachedFractions(cost, study.cost.source),
    repaired: outcome.nodes,
    layers: outcome.layers,
    branches: branches.flatMap(branchLines),
  };
}
