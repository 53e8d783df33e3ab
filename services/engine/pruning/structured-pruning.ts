/** Method structured-pruning: removes channels, hidden units and heads within a budget, in widths that are not slower, and repairs the rest. */
import { EngineError } from '../engine-errors.js';
import { adoptModel } from '../ir/adopt-model.js';
import type { Model } from '../ir/index.js';
import { nameNodes } from '../layers/node-names.js';
import { type BudgetOutcome, learningMethods, type MethodContext, type MethodOutcome, partOf } from '../method.js';
import { timeModels } from '../timing/whole-model-timing.js';
import { budgetUse, described, figuresOf, type Reached, relaxed } from './budget-figures.js';
import { DEFAULT_BUDGET, type PruningBudget, removesBranches, type StructuredPruningOptions } from './options.js';
import { METHOD, type PruningStudy } from './pruning-study.js';
import { describeLayers } from './report-lines.js';
import { decideRounding, isSlower, type RoundingDecision, tellTrials } from './rounding-decision.js';
import { type PrunedModel, pruneOnSchedule } from './scheduled-pruning.js';
import { studyModel } from './study-model.js';
import { WidthSearch, type WidthTrial } from './width-search.js';

/** Shares of what the budget asks to be removed, tried in turn until the bound on the metric holds. */
const LESS = [0.75, 0.5, 0.25, 0.1] as const;

/** What is taught afterwards is judged afterwards: a bound on the metric is none on the network that the teaching begins with. */
function judgedNow({ judge, ...rest }: MethodContext): MethodContext {
  const isTaught = rest.followedBy?.some((method) => learningMethods.has(method));
  return judge && !isTaught ? { ...rest, judge } : rest;
}

/**
 * Edits `model` in place. Throws EngineError `recipe_invalid` for options that contradict what is given and `model_unsupported`
 * without a sample that the model runs with. A model that no allowed widths make faster is left as it is: the outcome says which were
 * measured, and the missed budget rejects the artifact.
 */
export async function structuredPruning(model: Model, options: StructuredPruningOptions, context: MethodContext): Promise<MethodOutcome> {
  const given = judgedNow(context);
  const asked = options.budget ?? DEFAULT_BUDGET;
  requireSamples(options, given);
  nameNodes(model);
  const study = await studyModel(model, options, partOf(given, 0, 0.4));
  const sampled = study.samples ? { ...given, calibration: study.samples } : given;
  if (study.orders.length === 0) return unpruned(study, asked, ['structured-pruning: the model has no channels that can be removed.']);
  const search = await WidthSearch.open(study, options, partOf(sampled, 0.4, 0.5));
  requireTimes(asked, search);
  const decision = await decideRounding(search, { study, asked, options, context: partOf(sampled, 0.45, 0.5) });
  if (!decision.trial) return unpruned(study, asked, tellTrials(decision));
  const found = await firstWithinMetric({ study, options, asked, search, decision }, partOf(sampled, 0.5, 0.95));
  if (!found) {
    const words = `max_metric_drop ${given.judge?.maxDrop} of ${given.judge?.metric}`;
    return unpruned(study, asked, [`structured-pruning: pruned as little as the widths allow, the model does not keep ${words}.`]);
  }
  const { pruned, share } = found;
  const lines = await describeLayers(study, pruned, partOf(sampled, 0.95, 1));
  adoptModel(model, pruned.model);
  return {
    nodes: [...lines.nodes, ...study.left],
    layers: lines.layers,
    budgets: outcomes(asked, pruned.reached, share < 1),
    warnings: [...tellTrials(decision), ...missed(asked, pruned.reached, share < 1)],
  };
}

function requireSamples(options: StructuredPruningOptions, { calibration }: MethodContext): void {
  const { repair, sensitivity, remove_branches } = options;
  if (remove_branches && !(calibration && removesBranches(options)))
    throw new EngineError(
      'recipe_invalid',
      `"remove_branches" needs samples (--data, or data.calibration_id), the criterion 'reconstruction', the ranking 'global' and repair.`,
    );
  if (calibration || !(repair || sensitivity)) return;
  const what = repair ? 'repair' : 'sensitivity';
  throw new EngineError('recipe_invalid', `"${what}" needs samples: give a data set of typical inputs (--data, or data.calibration_id).`);
}

function requireTimes({ latency }: PruningBudget, search: WidthSearch): void {
  if (latency === undefined || search.isTimed) return;
  throw new EngineError(
    'recipe_invalid',
    'A budget of latency is measured on this machine: use a target that it has, and the objective "latency".',
  );
}

interface Bounded {
  readonly study: PruningStudy;
  readonly options: StructuredPruningOptions;
  readonly asked: PruningBudget;
  readonly search: WidthSearch;
  readonly decision: RoundingDecision;
}

interface Attempt {
  /** Of what the budget asks to be removed. */
  readonly share: number;
  readonly goal: PruningBudget;
  readonly trial: WidthTrial | undefined;
}

/** What was decided; the widths that lose least of those that keep the budget; then less and less. */
async function* attempts({ asked, search, decision }: Bounded): AsyncGenerator<Attempt> {
  const { trial, tried, compared } = decision;
  yield { share: 1, goal: asked, trial };
  const roundTo = trial?.roundTo ?? 1;
  const [faithful] = [...compared].sort((a, b) => (a.error ?? 0) - (b.error ?? 0));
  const cheapest = tried.find((each) => each.roundTo === roundTo && each.cost < (trial?.cost ?? 0));
  const other = faithful ?? cheapest;
  if (other && other.candidate !== trial?.candidate) yield { share: 1, goal: asked, trial: other };
  for (const share of LESS) {
    const goal = relaxed(asked, share);
    yield { share, goal, trial: (await search.trials(goal, [roundTo]))[0] };
  }
}

/** Less is pruned until the judge of the gate agrees; without one, the budget decides alone. */
async function firstWithinMetric(
  bounded: Bounded,
  context: MethodContext,
): Promise<{ readonly pruned: PrunedModel; readonly share: number } | undefined> {
  const { study, options, search } = bounded;
  const { judge } = context;
  let done = 0;
  for await (const { share, goal, trial } of attempts(bounded)) {
    context.signal.throwIfAborted();
    const part = partOf(context, done, judge ? done + (1 - done) / 2 : 1);
    done += (1 - done) / 2;
    if (!trial || isSlower(trial.timing)) continue;
    const made = await pruneOnSchedule({ study, options, asked: goal, roundTo: trial.roundTo, candidate: trial.candidate }, part);
    const timing = search.isTimed && (options.steps ?? 1) > 1 ? await timeModels(study.model, made.model, context) : trial.timing;
    if (isSlower(timing)) continue;
    const pruned = timing ? { ...made, reached: { ...made.reached, latency: timing.after / timing.before } } : made;
    if (!judge || (await judge.drop(pruned.model)) <= judge.maxDrop) return { pruned, share };
  }
  return undefined;
}

function unpruned(study: PruningStudy, asked: PruningBudget, warnings: readonly string[]): MethodOutcome {
  const reached: Reached = { macs: 1, parameters: 1, bytes: 1, latency: 1 };
  return { nodes: study.left, budgets: outcomes(asked, reached, false), warnings };
}

/** The estimate of bytes and the timing are exact to this share only. */
const TOLERANCE = 1.02;

function outcomes(asked: PruningBudget, reached: Reached, isRelaxed: boolean): BudgetOutcome[] {
  return figuresOf(asked).map((figure) => {
    const [limit, actual] = [asked[figure] ?? 1, reached[figure] ?? 1];
    const tolerance = figure === 'latency' || figure === 'bytes' ? TOLERANCE : 1;
    return { figure, asked: limit, reached: actual, accepted: isRelaxed || actual <= limit * tolerance };
  });
}

function missed(asked: PruningBudget, reached: Reached, isRelaxed: boolean): string[] {
  if (budgetUse(reached, asked) <= TOLERANCE) return [];
  const figures = figuresOf(asked).map(
    (figure) => `${described(figure, reached[figure] ?? 1)} remain, ${100 * (asked[figure] ?? 1)} were asked for`,
  );
  const why = isRelaxed ? 'more would lose more of the metric than the gate allows' : 'the rest cannot be removed under these options';
  return [`${METHOD}: ${figures.join('; ')}: ${why}.`];
}
