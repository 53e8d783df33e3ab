/** What widths really lose: each candidate is repaired on some of the samples, and the noise at its outputs judged on others. */
import { cloneModel, type Model } from '../../ir/index.js';
import { firstSamples, type MethodContext, type RunSource, samplesAfter } from '../../method.js';
import type { Survivors } from '../structure/pruning-structure.js';
import { repairLayers } from './repair-layers.js';

export interface RepairedCandidate {
  readonly model: Model;
  readonly survivors: Survivors;
}

export interface RepairCost {
  /** Multiply-accumulates of a sample. */
  readonly macs: number;
  /** Those that are refitted: rows of a sample, inputs, groups. */
  readonly layers: readonly { readonly rows: number; readonly depth: number; readonly groups: number }[];
}

/** How many candidates are repaired, each on so many samples. */
export interface RepairShare {
  readonly candidates: number;
  readonly samples: number;
}

const SAMPLES_MAX = 256;
/** A fit on fewer tells little of one on all. */
const SAMPLES_MIN = 64;
const CANDIDATES_MAX = 8;
/** Below, comparing is no choice. */
const CANDIDATES_MIN = 2;
/** Runs of a sample for each layer: both networks, the linear fit and those on the visible error, half of the network on average. */
const RUNS_PER_LAYER = 4;
/** Multiply-accumulates of all repairs, as the runtime makes them: about half a minute of a core. */
const RUN_MACS = 6e11;
/** What a solution of normal equations with d inputs takes, as many times d^3: outside the runtime, for several ridges. */
const SOLVE_WEIGHT = 20;

/** As many candidates as can be paid for, on fewer samples before there are fewer of them; undefined where comparing costs too much. */
export function affordableRepairs({ macs, layers }: RepairCost, sampleCount: number): RepairShare | undefined {
  const sum = (term: (layer: RepairCost['layers'][number]) => number): number => layers.reduce((all, layer) => all + term(layer), 0);
  const eachSample = RUNS_PER_LAYER * layers.length * macs + sum(({ rows, depth, groups }) => rows * depth ** 2 * groups);
  const solving = SOLVE_WEIGHT * sum(({ depth, groups }) => depth ** 3 * groups);
  const most = Math.min(SAMPLES_MAX, Math.floor(sampleCount / 2));
  const wanted = Math.floor((RUN_MACS / CANDIDATES_MAX - solving) / Math.max(1, eachSample));
  const samples = Math.min(most, Math.max(SAMPLES_MIN, wanted));
  const candidates = Math.min(CANDIDATES_MAX, Math.floor(RUN_MACS / Math.max(1, samples * eachSample + solving)));
  return samples > 0 && candidates >= CANDIDATES_MIN ? { candidates, samples } : undefined;
}

/** Squared error of the outputs over their power. The candidate is not changed. */
export async function repairedError(
  original: Model,
  { model, survivors }: RepairedCandidate,
  { samples, count }: { readonly samples: RunSource; readonly count: number },
  context: MethodContext,
): Promise<number> {
  const [few, others] = [firstSamples(samples, count), samplesAfter(samples, count)];
  const pruned = cloneModel(model);
  const { error } = await repairLayers({ original, pruned, survivors, samples: few, judged: others }, { ...context, progress() {} });
  return error.after;
}
