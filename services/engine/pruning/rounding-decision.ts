/** Which multiple the widths shall have: the block of the processor, or less; or what is measured as fastest. */
import type { MethodContext } from '../method.js';
import type { ModelTiming } from '../timing/whole-model-timing.js';
import { budgetUse, keepsBudget } from './budget-figures.js';
import type { PruningBudget, StructuredPruningOptions } from './options.js';
import { METHOD, type PruningStudy } from './pruning-study.js';
import { bestContender, comparable, repairedContenders } from './width-contest.js';
import type { WidthSearch, WidthTrial } from './width-search.js';

export interface RoundingDecision {
  /** Undefined when everything that was tried is slower than the source. */
  readonly trial: WidthTrial | undefined;
  readonly tried: readonly WidthTrial[];
  /** Those of which repaired copies were compared, with their errors; the trial is one of them where there are any. */
  readonly compared: readonly WidthTrial[];
}

export type TrialSource = Pick<WidthSearch, 'isTimed' | 'trials'>;

export interface RoundingRequest {
  readonly study: PruningStudy;
  readonly asked: PruningBudget;
  readonly options: StructuredPruningOptions;
  readonly context: MethodContext;
}

/** Multiples that are tried, the largest first. */
const MULTIPLES = [16, 8, 4, 1] as const;

const wideVectors: readonly MethodContext['isa'][] = ['amx', 'avx512-vnni', 'avx512'];
const integerMethods: readonly string[] = ['static-int8', 'dynamic-int8'];

/**
 * Channels in a block of the layout in which onnxruntime passes them between convolutions (methods.md 3.11 and 5): 16 with AVX512 and
 * for integer kernels, else 8.
 */
export function defaultMultiple({ isa, target, followedBy = [] }: Pick<MethodContext, 'isa' | 'target' | 'followedBy'>): number {
  const isWide = target !== 'arm64' && wideVectors.includes(isa);
  return isWide || followedBy.some((method) => integerMethods.includes(method)) ? 16 : 8;
}

/**
 * By default the multiples up to the block that can be timed, all against each other, and any width only when none of those keeps the
 * budget; where nothing is timed the block, and less only when it does not keep the budget.
 */
export async function decideRounding(search: TrialSource, request: RoundingRequest): Promise<RoundingDecision> {
  return decided(await triedWidths(search, request), request, search.isTimed);
}

async function triedWidths(search: TrialSource, { asked, options, context }: RoundingRequest): Promise<WidthTrial[]> {
  const { round_to } = options;
  const isThorough = search.isTimed;
  if (typeof round_to === 'number') return search.trials(asked, [round_to], isThorough);
  if (round_to === 'auto' && search.isTimed) return search.trials(asked, MULTIPLES, isThorough);
  const preferred = defaultMultiple(context);
  const allowed = MULTIPLES.filter((each) => each <= preferred);
  const turns = search.isTimed ? [allowed.filter((each) => each > 1), [1]] : allowed.map((each) => [each]);
  const tried: WidthTrial[] = [];
  for (const multiples of turns) {
    tried.push(...(await search.trials(asked, multiples, isThorough)));
    if (tried.some((trial) => keepsBudget(trial.reached, asked) && !isSlower(trial.timing))) break;
  }
  return tried;
}

/** Where nothing was repaired to compare, faster widths may cost this many times what the cheapest ones do that keep the budget. */
const COST_RATIO_MAX = 2;
/** Of times this close the widths that cost less are taken. */
const TIE = 1.02;

/**
 * The fastest of those that keep the budget without losing much more than others, or, where the budget says how fast, the one that loses
 * least; where none keeps it, the one that comes closest. Nothing that is slower than the source. What they lose is measured on repaired
 * copies where it can be, as the costs of groups alone mislead; else it is the sum of those.
 */
async function decided(
  tried: readonly WidthTrial[],
  { asked, options, study, context }: RoundingRequest,
  isTimed: boolean,
): Promise<RoundingDecision> {
  const usable = tried.filter(({ timing }) => !isSlower(timing));
  const within = usable.filter(({ reached }) => keepsBudget(reached, asked));
  const isForSpeed = asked.latency === undefined;
  const isRepaired = isTimed && (options.repair ?? true);
  const compared = isRepaired ? await repairedContenders(within, { study, context, isForSpeed }) : [];
  const best = compared.length > 0 ? bestContender(compared, isForSpeed) : cheapestOfFast(within, isForSpeed);
  const [closest] = [...usable].sort((a, b) => budgetUse(a.reached, asked) - budgetUse(b.reached, asked));
  return { trial: best ?? closest, tried, compared };
}

function cheapestOfFast(trials: readonly WidthTrial[], isForSpeed: boolean): WidthTrial | undefined {
  const least = Math.min(...comparable(trials).map(({ cost }) => cost));
  const worthwhile = trials.filter(({ cost }) => cost <= COST_RATIO_MAX * least);
  const fastest = isForSpeed ? Math.min(...worthwhile.map(({ timing }) => timing?.after ?? 0)) : Number.POSITIVE_INFINITY;
  return worthwhile.filter(({ timing }) => (timing?.after ?? 0) <= TIE * fastest).sort((a, b) => a.cost - b.cost)[0];
}

/** Certainly slower; or not known to be faster, and not in the best run either. */
export function isSlower(timing: ModelTiming | undefined): boolean {
  if (!timing) return false;
  const { before, after, ratio } = timing;
  return ratio ? ratio.high < 1 || (ratio.low < 1 && after > before * TIE) : after > before;
}

/** What was measured and refused, for the report. */
export function tellTrials({ trial, tried, compared }: RoundingDecision): string[] {
  const slower = tried.filter((each) => each !== trial && isSlower(each.timing));
  const refused = slower.filter(({ roundTo }, at) => slower.findIndex((other) => other.roundTo === roundTo) === at);
  const lines = refused.map(
    ({ roundTo, timing }) =>
      `${METHOD}: channels in multiples of ${roundTo} were refused: a run takes ${milliseconds(timing?.after)} instead of ${milliseconds(timing?.before)} on this machine.`,
  );
  if (trial && compared.length > 1) lines.push(toldContest(trial, compared));
  return trial ? lines : [...lines, `${METHOD}: no widths within the options make the model faster here; it is left as it is.`];
}

/** In the order of their times. */
function toldContest(trial: WidthTrial, compared: readonly WidthTrial[]): string {
  const inTurn = [...compared].sort((a, b) => (b.timing?.after ?? 0) - (a.timing?.after ?? 0));
  const told = inTurn.map(({ timing, error = 0, reached, candidate }) => {
    const figures = `${milliseconds(timing?.after)}, ${(100 * error).toPrecision(2)} % (${(100 * reached.macs).toFixed(1)} % of the multiply-accumulates)`;
    return candidate === trial.candidate ? `${figures}, taken` : figures;
  });
  return `${METHOD}: ${compared.length} choices of widths were repaired and compared by the error of their outputs on other samples: ${told.join('; ')}.`;
}

function milliseconds(time = 0): string {
  return `${time.toPrecision(3)} ms`;
}
