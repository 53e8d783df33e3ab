/** The choice among widths that were timed: by what they lose once repaired, not by the sum of what their groups were estimated to lose alone. */
import type { MethodContext } from '../method.js';
import { countMacs } from '../ops/index.js';
import type { PruningStudy } from './pruning-study.js';
import { affordableRepairs, type RepairCost, repairedError } from './reconstruction/repaired-errors.js';
import { layersOf } from './sample-limit.js';
import type { WidthTrial } from './width-search.js';

export interface Contest {
  readonly study: PruningStudy;
  readonly context: MethodContext;
  /** Whether the fastest is looked for, or what loses least. */
  readonly isForSpeed: boolean;
}

/** Faster widths may lose this many times what the most faithful ones lose: 4 dB of noise. */
const ERROR_RATIO_MAX = 2.5;
/**
 * Among those, least of time * error^(1/5): twice the noise must buy an eighth of the time. With a bound on the error alone, a little noise of
 * the measurement would turn the choice from one end of the front to the other. Chosen on training images that neither chose widths nor
 * repaired (resnet8, front at half of the multiply-accumulates: 1.47 times the speed .896, 1.65 .886, 1.73 .884, 1.77 .8835, 1.83 .881), where
 * 1/4 lies between the second and the third.
 */
const EXCHANGE = 0.2;
/** Errors below are rounding. */
const ERROR_MIN = 1e-9;

/** The best of those with errors; where a budget says how fast, the most faithful. */
export function bestContender(compared: readonly WidthTrial[], isForSpeed: boolean): WidthTrial | undefined {
  const errorOf = ({ error = Number.POSITIVE_INFINITY }: WidthTrial): number => Math.max(ERROR_MIN, error);
  const worth = (trial: WidthTrial): number => (isForSpeed ? (trial.timing?.after ?? 0) * errorOf(trial) ** EXCHANGE : errorOf(trial));
  const least = Math.min(...comparable(compared).map(errorOf));
  return compared.filter((trial) => errorOf(trial) <= ERROR_RATIO_MAX * least).sort((a, b) => worth(a) - worth(b))[0];
}

/** Any width at all loses least and is rarely fast: multiples are compared with each other. */
export function comparable(trials: readonly WidthTrial[]): readonly WidthTrial[] {
  const multiples = trials.filter(({ roundTo }) => roundTo > 1);
  return multiples.length > 0 ? multiples : trials;
}

/** The contenders with their errors; none where comparing would take too long, or nothing is repaired. */
export async function repairedContenders(trials: readonly WidthTrial[], { study, context, isForSpeed }: Contest): Promise<WidthTrial[]> {
  const { samples } = study;
  const distinct = [...new Map([...trials].reverse().map((trial) => [trial.candidate.steps.join(), trial] as const)).values()];
  const byCost = distinct.sort((a, b) => a.cost - b.cost);
  const front = isForSpeed ? paretoFront(byCost) : byCost;
  const share = samples && affordableRepairs(repairCost(study), samples.sampleCount);
  if (!samples || !share || byCost.length < 2) return [];
  // What the estimates call worse in time and cost comes where there is room.
  const contenders = [...new Set([...front.slice(0, share.candidates), ...byCost])].slice(0, share.candidates);
  const judged: WidthTrial[] = [];
  for (const [at, trial] of contenders.entries()) {
    context.signal.throwIfAborted();
    const error = await repairedError(study.model, trial.candidate, { samples, count: share.samples }, context);
    judged.push({ ...trial, error });
    context.progress((at + 1) / contenders.length, `repaired ${at + 1} contenders`);
  }
  return judged.filter(({ error }) => Number.isFinite(error));
}

/** From the cheapest on, those that are faster than all before. */
function paretoFront(byCost: readonly WidthTrial[]): WidthTrial[] {
  let fastest = Number.POSITIVE_INFINITY;
  return byCost.filter(({ timing }) => {
    const time = timing?.after ?? 0;
    const isFaster = time < fastest;
    fastest = Math.min(fastest, time);
    return isFaster;
  });
}

function repairCost({ model, shapes, samples }: PruningStudy): RepairCost {
  const batch = samples?.fixedBatch ?? 1;
  return { macs: countMacs(model, shapes).total / batch, layers: layersOf(model, shapes, batch) };
}
