/** Widths that keep a budget, for a multiple that they shall have: chosen by costs and times, counted and timed on the pruned model. */
import type { MethodContext } from '../method.js';
import { runsOnTarget } from '../timing/target-machine.js';
import { type ModelTiming, timeAlternatives } from '../timing/whole-model-timing.js';
import { chooseWidths } from './budget/choose-widths.js';
import { scanSensitivity } from './budget/sensitivity-scan.js';
import type { Removal } from './budget/value-sizes.js';
import { widthLadder } from './budget/width-ladder.js';
import { budgetUse, type Reached, reachedFractions } from './budget-figures.js';
import type { RemovalOrder } from './importance/removal-order.js';
import { type ModelTime, measureModelTime } from './latency/model-time.js';
import { DEFAULT_MAX_REMOVED, type PruningBudget, type StructuredPruningOptions } from './options.js';
import { measuredCost, type PrunedCandidate, pruneCandidate } from './prune-candidate.js';
import type { PruningStudy } from './pruning-study.js';

export interface WidthTrial {
  readonly roundTo: number;
  readonly candidate: PrunedCandidate;
  readonly reached: Reached;
  /** Of the model of the study and the candidate; undefined where nothing is timed. */
  readonly timing?: ModelTiming;
}

/** Corrections of what the estimate of the figures misses. */
const ATTEMPTS = 4;
/** A latency that is off by less than this is noise of the measurement. */
const TIMING_TOLERANCE = 1.02;
/** Widths off these multiples leave the blocked layout of convolutions: times between them say nothing. */
const TIMED_MULTIPLE = 4;
/** What a budgeted figure is worth beside time, where a step saves no time. */
const FIGURE_WORTH = 0.1;

export class WidthSearch {
  private constructor(
    private readonly study: PruningStudy,
    private readonly orders: readonly RemovalOrder[],
    private readonly options: StructuredPruningOptions,
    private readonly context: MethodContext,
  ) {}

  static async open(study: PruningStudy, options: StructuredPruningOptions, context: MethodContext): Promise<WidthSearch> {
    const { calibration: samples } = context;
    const isScanned = options.sensitivity ?? (options.criterion !== undefined && options.criterion !== 'reconstruction');
    if (!samples || !isScanned) return new WidthSearch(study, study.orders, options, context);
    const ladders = study.orders.map((order) => widthLadder(order, rulesFor(1, options)));
    const { model, structure } = study;
    return new WidthSearch(
      study,
      await scanSensitivity({ model, structure, orders: study.orders, ladders, samples }, context),
      options,
      context,
    );
  }

  /** Whether times on this machine say anything about the artifact. */
  get isTimed(): boolean {
    return this.context.objective === 'latency' && runsOnTarget(this.context);
  }

  /** The best widths for each multiple, in their order; timed together. Those that the estimate of a figure misleads are corrected. */
  async trials(asked: PruningBudget, multiples: readonly number[]): Promise<WidthTrial[]> {
    const plans: WidthPlan[] = [];
    for (const roundTo of multiples) plans.push(await this.plan(roundTo));
    let limits = plans.map(() => 1);
    let trials: WidthTrial[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      trials = await this.measured(
        plans.map((plan, at) => this.candidate(plan, asked, limits[at] ?? 1)),
        plans,
      );
      const uses = trials.map(({ reached, candidate }, at) => (canGoOn(plans[at], candidate) ? budgetUse(reached, tolerant(asked)) : 0));
      if (uses.every((use) => use <= 1 + 1e-9)) break;
      limits = limits.map((limit, at) => limit / Math.max(1, (uses[at] ?? 1) * (1 + 1e-6)));
    }
    return trials;
  }

  private candidate({ ladders, time }: WidthPlan, asked: PruningBudget, limit: number): PrunedCandidate {
    const { cost, structure } = this.study;
    // Without times, latency is taken to follow the multiply-accumulates; the timing of the candidate corrects it.
    const figures = (removed: Removal): Reached => {
      const fractions = reachedFractions(cost.at(removed), cost.source);
      return { ...fractions, latency: time ? time.at(removed) / time.source : fractions.macs };
    };
    const kept = (removed: Removal): number => budgetUse(figures(removed), asked);
    const saved = (removed: Removal): number => 1 - (time?.at(removed) ?? 0) / (time?.source ?? 1) + FIGURE_WORTH * (1 - kept(removed));
    const problem = { orders: this.orders, ladders, ranking: this.options.ranking ?? 'global', kept, limit } as const;
    const { steps } = chooseWidths(time ? { ...problem, saved } : problem);
    return pruneCandidate({ ...this.study, structure, orders: this.orders }, steps);
  }

  private async plan(roundTo: number): Promise<WidthPlan> {
    const ladders = this.orders.map((order) => widthLadder(order, rulesFor(roundTo, this.options)));
    if (!this.isTimed || roundTo % TIMED_MULTIPLE !== 0) return { roundTo, ladders };
    const time = await measureModelTime({ ...this.study, orders: this.orders, ladders }, this.context);
    return { roundTo, ladders, ...(time ? { time } : {}) };
  }

  private async measured(candidates: readonly PrunedCandidate[], plans: readonly WidthPlan[]): Promise<WidthTrial[]> {
    const models = candidates.map(({ model }) => model);
    const timings = this.isTimed ? await timeAlternatives(this.study.model, models, this.context) : undefined;
    const trials: WidthTrial[] = [];
    for (const [at, candidate] of candidates.entries()) {
      const timing = timings?.[at];
      const cost = await measuredCost(candidate.model, this.study, this.context);
      const reached = reachedFractions(cost, this.study.cost.source, timing);
      trials.push({ roundTo: plans[at]?.roundTo ?? 1, candidate, reached, ...(timing ? { timing } : {}) });
    }
    return trials;
  }
}

interface WidthPlan {
  readonly roundTo: number;
  readonly ladders: readonly (readonly number[])[];
  readonly time?: ModelTime;
}

function rulesFor(roundTo: number, { min_channels, max_removed = DEFAULT_MAX_REMOVED }: StructuredPruningOptions) {
  return { roundTo, maxRemoved: max_removed, ...(min_channels === undefined ? {} : { minChannels: min_channels }) };
}

function canGoOn(plan: WidthPlan | undefined, { steps }: PrunedCandidate): boolean {
  return plan?.ladders.some((ladder, at) => (steps[at] ?? 0) < (ladder.at(-1) ?? 0)) ?? false;
}

function tolerant(asked: PruningBudget): PruningBudget {
  return asked.latency === undefined ? asked : { ...asked, latency: asked.latency * TIMING_TOLERANCE };
}
