/** Widths that keep a budget, for a multiple that they shall have: chosen by costs and times, counted and timed on the pruned model. */
import type { MethodContext } from '../method.js';
import { runsOnTarget } from '../timing/target-machine.js';
import { type ModelTiming, timeAlternatives } from '../timing/whole-model-timing.js';
import { chooseWidths } from './budget/choose-widths.js';
import { fasterWidths } from './budget/faster-widths.js';
import { scanSensitivity } from './budget/sensitivity-scan.js';
import type { Removal } from './budget/value-sizes.js';
import { WidthCosts } from './budget/width-costs.js';
import { widthLadder } from './budget/width-ladder.js';
import { budgetUse, figuresOf, keepsBudget, type Reached, reachedFractions, tolerant } from './budget-figures.js';
import type { RemovalOrder } from './importance/removal-order.js';
import { measureModelTime } from './latency/model-time.js';
import { DEFAULT_MAX_REMOVED, type PruningBudget, type StructuredPruningOptions } from './options.js';
import { measuredCost, type PrunedCandidate, pruneCandidate } from './prune-candidate.js';
import type { PruningStudy } from './pruning-study.js';
import { plansWithReducedBranches, type WidthPlan, withFixedTime } from './width-plans.js';

export interface WidthTrial {
  readonly roundTo: number;
  readonly candidate: PrunedCandidate;
  readonly reached: Reached;
  /** Of the steps that the orders have taken. */
  readonly cost: number;
  /** Of the model of the study and the candidate; undefined where nothing is timed. */
  readonly timing?: ModelTiming;
  /** Squared error of the outputs over their power, repaired and judged on other samples (repaired-errors.ts); undefined where not measured. */
  readonly error?: number;
}

/** What faster widths may cost, as multiples of what the cheapest ones do. */
const COST_SHARES = [1, 1.15, 1.3] as const;
/** Corrections of what the estimate of the figures misses. */
const ATTEMPTS = 4;
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

  /**
   * For each multiple, in their order, the widths that cost least and, where layers could be timed, faster ones that cost a little more;
   * timed together. Those that the estimate of a figure misleads are corrected. `isThorough`: the same with each of the most promising
   * residual branches reduced, whatever the sum of estimated costs says of it.
   */
  async trials(asked: PruningBudget, multiples: readonly number[], isThorough = false): Promise<WidthTrial[]> {
    const plans: WidthPlan[] = [];
    for (const roundTo of multiples) {
      const plan = await this.plan(roundTo);
      plans.push(plan, ...(isThorough ? plansWithReducedBranches(plan, this.orders) : []));
    }
    const trials = plans.map((): WidthTrial[] => []);
    const goals = plans.map(() => asked);
    // What keeps the budget is not timed again: with noise it would be corrected again and again.
    let open = [...plans.keys()];
    for (let attempt = 0; attempt < ATTEMPTS && open.length > 0; attempt += 1) {
      const turn = open.flatMap((at) => plans[at] ?? []);
      const candidates = turn.map((plan) => this.candidates(plan, goals[plans.indexOf(plan)] ?? asked));
      const measured = await this.measured(candidates, turn);
      open = open.filter((at, position) => {
        const own = measured[position] ?? [];
        trials[at] = [...own, ...(trials[at] ?? []).filter(({ reached }) => keepsBudget(reached, asked))];
        const plan = plans[at];
        const learned = asked.latency !== undefined && plan ? withFixedTime(plan, own[0]?.timing) : undefined;
        if (learned) plans[at] = learned;
        if (learned && learned.fixed > 0) return true;
        const misled = own.filter(({ candidate }) => canGoOn(plan, candidate)).map(({ reached }) => reached);
        goals[at] = corrected(goals[at] ?? asked, tolerant(asked), misled);
        return !misled.every((reached) => keepsBudget(reached, asked));
      });
    }
    return trials.flat();
  }

  private candidates({ ladders, time, fixed = 0 }: WidthPlan, goal: PruningBudget): PrunedCandidate[] {
    const { cost, structure } = this.study;
    // Without times, latency is taken to follow the multiply-accumulates; the timing of the candidate corrects it.
    const figures = (removed: Removal): Reached => {
      const fractions = reachedFractions(cost.at(removed), cost.source);
      return { ...fractions, latency: time ? (time.at(removed) + fixed) / (time.source + fixed) : fractions.macs };
    };
    const kept = (removed: Removal): number => budgetUse(figures(removed), goal);
    const spared = (removed: Removal): number => 1 - (time?.at(removed) ?? 0) / (time?.source ?? 1);
    const saved = (removed: Removal): number => spared(removed) + FIGURE_WORTH * (1 - kept(removed));
    const problem = { orders: this.orders, ladders, ranking: this.options.ranking ?? 'global', kept, limit: 1 } as const;
    const { steps } = chooseWidths(time ? { ...problem, saved } : problem);
    const ways = time && problem.ranking === 'global' ? COST_SHARES : [];
    const faster = ways.map((share) => fasterWidths({ ...problem, saved: spared }, steps, share * this.costOf(steps)));
    const distinct = new Map([...faster, ...(faster.length > 0 ? [] : [steps])].map((each) => [each.join(), each] as const));
    return [...distinct.values()].map((each) => pruneCandidate({ ...this.study, structure, orders: this.orders }, each));
  }

  private costOf(steps: readonly number[]): number {
    return new WidthCosts(this.orders).of(steps);
  }

  private async plan(roundTo: number): Promise<WidthPlan> {
    const ladders = this.orders.map((order) => widthLadder(order, rulesFor(roundTo, this.options)));
    if (!this.isTimed || roundTo % TIMED_MULTIPLE !== 0) return { roundTo, ladders };
    const time = await measureModelTime({ ...this.study, orders: this.orders, ladders }, this.context);
    return { roundTo, ladders, ...(time ? { time } : {}) };
  }

  /** By plan; candidates of several plans that are the same are timed once. */
  private async measured(candidates: readonly (readonly PrunedCandidate[])[], plans: readonly WidthPlan[]): Promise<WidthTrial[][]> {
    const distinct = new Map(candidates.flat().map((candidate) => [candidate.steps.join(), candidate] as const));
    const models = [...distinct.values()].map(({ model }) => model);
    const timings = this.isTimed ? await timeAlternatives(this.study.model, models, this.context) : undefined;
    const known = new Map<string, Omit<WidthTrial, 'roundTo' | 'candidate'>>();
    for (const [at, [key, { model, steps }]] of [...distinct].entries()) {
      const timing = timings?.[at];
      const reached = reachedFractions(await measuredCost(model, this.study, this.context), this.study.cost.source, timing);
      known.set(key, { reached, cost: this.costOf(steps), ...(timing ? { timing } : {}) });
    }
    return candidates.map((own, at) =>
      own.flatMap((candidate) => {
        const figures = known.get(candidate.steps.join());
        return figures ? [{ roundTo: plans[at]?.roundTo ?? 1, candidate, ...figures }] : [];
      }),
    );
  }
}

function rulesFor(roundTo: number, { min_channels, max_removed = DEFAULT_MAX_REMOVED }: StructuredPruningOptions) {
  return { roundTo, maxRemoved: max_removed, ...(min_channels === undefined ? {} : { minChannels: min_channels }) };
}

function canGoOn(plan: WidthPlan | undefined, { steps }: PrunedCandidate): boolean {
  return plan?.ladders.some((ladder, at) => (steps[at] ?? 0) < (ladder.at(-1) ?? 0)) ?? false;
}

/** Each figure for itself: what one estimate misses says nothing of the others. */
function corrected(goal: PruningBudget, asked: PruningBudget, measured: readonly Reached[]): PruningBudget {
  return Object.fromEntries(
    figuresOf(asked).map((figure) => {
      const use = Math.max(1, ...measured.map((reached) => ((reached[figure] ?? 0) / (asked[figure] ?? 1)) * (1 + 1e-6)));
      return [figure, (goal[figure] ?? 1) / use];
    }),
  );
}
