/** From a plan to the numbers of the quantized forecaster: widths, ranges, corrections, training, each judged by the outputs. */
import { EngineError } from '../engine-errors.js';
import { concatenated, type Model } from '../ir/index.js';
import { type MethodContext, partOf, type SampleRun } from '../method.js';
import { allocatedBits, uniformBits } from './chosen-bits.js';
import { correctBiases, refitHeads } from './corrections.js';
import { type Observation, observePoints } from './observed-points.js';
import type { DistributionAwareOptions } from './options.js';
import type { Answers } from './output-distance.js';
import type { PointRange } from './point-form.js';
import { type Point, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import { fullRange, leastErrorRange } from './range-choice.js';
import { distanceOf, type SearchRequest, searchRanges } from './range-search.js';
import { roundWeight, type Settings, SimulatedModel, sampleRows } from './simulated-model.js';
import { trainedSettings } from './trained-rounding.js';

/** Runs that the ranges are searched on; every run that is not fitted on judges the corrections. */
const SEARCH_RUNS = 3;
const JUDGE_EVERY = 4;

interface Choice {
  readonly runs: readonly SampleRun[];
  readonly options: DistributionAwareOptions;
  readonly context: MethodContext;
}

/** What all steps share. */
interface Study extends Choice {
  readonly model: Model;
  readonly plan: QuantizationPlan;
  readonly observation: Observation;
  readonly simulated: SimulatedModel;
  /** Samples that are fitted on, and those that judge. */
  readonly fitting: readonly SampleRun[];
  readonly judging: readonly SampleRun[];
}

/** Throws EngineError `recipe_invalid` when no output can be compared, and what running throws. `model` is left as it is. */
export async function chooseSettings(model: Model, plan: QuantizationPlan, choice: Choice): Promise<Settings> {
  const { runs, options, context } = choice;
  const judges = runs.filter((_, at) => at % JUDGE_EVERY === JUDGE_EVERY - 1);
  const [fitting, judging] = judges.length > 0 ? [runs.filter((run) => !judges.includes(run)), judges] : [runs, runs];
  const observation = await observePoints(model, plan, fitting, context);
  const simulated = await SimulatedModel.open(model, plan, context);
  try {
    const study = { ...choice, model, plan, observation, simulated, fitting, judging };
    const searching = await searchOn(study, evenly(fitting, SEARCH_RUNS), options.distance ?? 'error');
    const bits = await chosenBits(study, searching);
    const local = localSettings(study, bits);
    const isSearched = (options.ranges ?? 'searched') === 'searched';
    const ranged = isSearched ? await searchRanges(local, { ...searching, context: partOf(context, 0.3, 0.8) }) : local;
    const judge = await searchOn(study, judging, 'error');
    const corrected = await correctedSettings(ranged, study, judge);
    if (!options.training) return corrected;
    const request = { plan, observation, options: options.training, context: partOf(context, 0.82, 1) };
    const trained = await trainedSettings(corrected, model, request);
    // What was trained against labels may well leave the float model behind.
    return options.training.losses ? trained : await nearer(judge, corrected, trained);
  } finally {
    await simulated.close();
  }
}

async function searchOn(
  { model, plan, simulated, context }: Study,
  runs: readonly SampleRun[],
  distance: SearchRequest['distance'],
): Promise<SearchRequest> {
  const reference = await floatAnswers(model, runs, context);
  if (reference.values.length === 0)
    throw new EngineError('recipe_invalid', 'No output is a float32 tensor with one row per sample: there is nothing to judge ranges by.');
  return { plan, simulated, runs, reference, distance, context };
}

async function chosenBits(study: Study, searching: SearchRequest): Promise<ReadonlyMap<string, number>> {
  const { plan, options, observation, context } = study;
  if (options.allocation !== 'sensitivity') return uniformBits(plan, options);
  return allocatedBits({
    ...{ options, observation, request: { ...searching, context: partOf(context, 0.1, 0.3) } },
    settingsAt: (bits) => localSettings(study, bits),
    localRange: (point, bits) => localRange(study, point, bits),
  });
}

/** Every tensor by itself; 8 bits where nothing is said. */
function localSettings(study: Study, bits: ReadonlyMap<string, number>): Settings {
  const { plan } = study;
  const weightBits = (name: string): number => bits.get(name) ?? 8;
  return {
    bits,
    ranges: new Map(pointsOf(plan).map((point) => [point.id, localRange(study, point, bits.get(point.id) ?? 8)])),
    weights: new Map(
      plan.weights.map((planned) => [planned.constant.value.name, roundWeight(planned, weightBits(planned.constant.value.name))]),
    ),
    biases: new Map(),
  };
}

function localRange({ observation, options }: Study, point: Point, bits: number): PointRange {
  const observed = observation.points.get(point.id);
  if (!observed) throw new RangeError(`distribution-aware: "${point.id}" was not observed`);
  return options.ranges === 'extremes' ? fullRange(observed) : leastErrorRange(point, observed, bits);
}

/** A correction stays when samples that it was not made on say that the outputs come nearer. */
async function correctedSettings(start: Settings, study: Study, judge: SearchRequest): Promise<Settings> {
  const { model, plan, fitting, observation, options, context } = study;
  if (options.refit_head === false && options.correct_biases === false) return start;
  const simulated = await SimulatedModel.open(model, plan, context, { shows: true });
  try {
    const request = { plan, simulated, runs: fitting, context };
    const refitted = async (from: Settings): Promise<Settings> =>
      options.refit_head === false ? from : nearer(judge, from, await refitHeads(from, model, request));
    const plain = await refitted(start);
    if (options.correct_biases === false) return plain;
    return await nearer(judge, plain, await refitted(await correctBiases(start, observation, request)));
  } finally {
    await simulated.close();
  }
}

async function nearer(judge: SearchRequest, now: Settings, tried: Settings): Promise<Settings> {
  return (await distanceOf(tried, judge)) < (await distanceOf(now, judge)) ? tried : now;
}

/** At most `count` of them, spread over all. */
function evenly<T>(items: readonly T[], count: number): readonly T[] {
  const taken = Math.min(count, items.length);
  return Array.from({ length: taken }, (_, at) => items[Math.floor((at * items.length) / taken)] as T);
}

async function floatAnswers(model: Model, runs: readonly SampleRun[], context: MethodContext): Promise<Answers> {
  const session = await context.runtime.open(model);
  try {
    const parts: Float32Array[] = [];
    for (const run of runs) parts.push(sampleRows(await session.run(run.feeds), run));
    return { samples: runs.reduce((sum, { sampleCount }) => sum + sampleCount, 0), values: concatenated(parts) };
  } finally {
    await session.close();
  }
}
