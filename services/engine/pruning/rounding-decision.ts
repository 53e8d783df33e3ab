/** Which multiple the widths shall have: the block of the processor, or less; or what is measured as fastest. */
import type { MethodContext } from '../method.js';
import type { ModelTiming } from '../timing/whole-model-timing.js';
import { budgetUse } from './budget-figures.js';
import type { PruningBudget, StructuredPruningOptions } from './options.js';
import { METHOD } from './pruning-study.js';
import type { WidthSearch, WidthTrial } from './width-search.js';

export interface RoundingDecision {
  /** Undefined when everything that was tried is slower than the source. */
  readonly trial: WidthTrial | undefined;
  readonly tried: readonly WidthTrial[];
}

export interface RoundingRequest {
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
export async function decideRounding(search: WidthSearch, { asked, options, context }: RoundingRequest): Promise<RoundingDecision> {
  const { round_to } = options;
  if (typeof round_to === 'number') return decided(await search.trials(asked, [round_to]), asked);
  if (round_to === 'auto' && search.isTimed) return decided(await search.trials(asked, MULTIPLES), asked);
  const preferred = defaultMultiple(context);
  const allowed = MULTIPLES.filter((each) => each <= preferred);
  const turns = search.isTimed ? [allowed.filter((each) => each > 1), [1]] : allowed.map((each) => [each]);
  const tried: WidthTrial[] = [];
  for (const multiples of turns) {
    tried.push(...(await search.trials(asked, multiples)));
    if (tried.some((trial) => isWithin(trial, asked) && !isSlower(trial.timing))) break;
  }
  return decided(tried, asked);
}

/** Faster widths may cost this many times what the cheapest ones do that keep the budget. */
const COST_RATIO_MAX = 2;
/** Of times this close the widths that cost less are taken. */
const TIE = 1.02;

/**
 * The fastest of those that keep the budget without costing much more than others, or, where the budget says how fast, the one that costs
 * least; where none keeps it, the one that comes closest. Nothing that is slower than the source.
 */
function decided(tried: readonly WidthTrial[], asked: PruningBudget): RoundingDecision {
  const usable = tried.filter(({ timing }) => !isSlower(timing));
  const within = usable.filter((trial) => isWithin(trial, asked));
  // Any width at all costs least and is rarely fast: multiples are compared with each other.
  const multiples = within.filter(({ roundTo }) => roundTo > 1);
  const least = Math.min(...(multiples.length > 0 ? multiples : within).map(({ cost }) => cost));
  const worthwhile = within.filter(({ cost }) => cost <= COST_RATIO_MAX * least);
  const fastest = asked.latency === undefined ? Math.min(...worthwhile.map(({ timing }) => timing?.after ?? 0)) : Number.POSITIVE_INFINITY;
  const [best] = worthwhile.filter(({ timing }) => (timing?.after ?? 0) <= TIE * fastest).sort((a, b) => a.cost - b.cost);
  const [closest] = [...usable].sort((a, b) => budgetUse(a.reached, asked) - budgetUse(b.reached, asked));
  return { trial: best ?? closest, tried };
}

/** A latency that is off by less than this is noise of the measurement. */
const TIMING_TOLERANCE = 1.02;

function isWithin({ reached }: WidthTrial, asked: PruningBudget): boolean {
  const { latency, ...exact } = asked;
  const isFast = latency === undefined || (reached.latency ?? 0) <= latency * TIMING_TOLERANCE;
  return isFast && budgetUse(reached, exact) <= 1 + 1e-9;
}

/** Certainly slower; or not known to be faster, and not in the best run either. */
export function isSlower(timing: ModelTiming | undefined): boolean {
  if (!timing) return false;
  const { before, after, ratio } = timing;
  return ratio ? ratio.high < 1 || (ratio.low < 1 && after > before * TIE) : after > before;
}

/** What was measured and refused, for the report. */
export function tellTrials({ trial, tried }: RoundingDecision): string[] {
  const slower = tried.filter((each) => each !== trial && isSlower(each.timing));
  const refused = slower.filter(({ roundTo }, at) => slower.findIndex((other) => other.roundTo === roundTo) === at);
  const lines = refused.map(
    ({ roundTo, timing }) =>
      `${METHOD}: channels in multiples of ${roundTo} were refused: a run takes ${milliseconds(timing?.after)} instead of ${milliseconds(timing?.before)} on this machine.`,
  );
  return trial ? lines : [...lines, `${METHOD}: no widths within the options make the model faster here; it is left as it is.`];
}

function milliseconds(time = 0): string {
  return `${time.toPrecision(3)} ms`;
}
