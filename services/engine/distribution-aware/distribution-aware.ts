/** Method distribution-aware: LSTM, GRU and attention in 3 to 8 bits, every range chosen by what it does to the outputs. */
import { EngineError } from '../engine-errors.js';
import { adoptModel } from '../ir/adopt-model.js';
import { cloneModel, type Model } from '../ir/index.js';
import type { MethodContext, MethodOutcome, SampleRun } from '../method.js';
import { partOf } from '../method.js';
import { upgradeOpset } from '../passes/opset-upgrade.js';
import { allocatedBits, uniformBits } from './chosen-bits.js';
import { correctBiases, refitHeads } from './corrections.js';
import { emitQuantized } from './emission.js';
import { fasterKernels } from './integer-kernels.js';
import { observePoints } from './observed-points.js';
import type { DistributionAwareOptions } from './options.js';
import { planQuantization, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import { fullRange, leastErrorRange } from './range-choice.js';
import { distanceOf, type SearchRequest, searchRanges } from './range-search.js';
import { outcomeOf } from './report-lines.js';
import { concatenated, roundWeight, type Settings, SimulatedModel, sampleRows } from './simulated-model.js';
import { spreadSamples } from './spread-samples.js';
import { trainedSettings } from './trained-rounding.js';

/** What the loops are written in: sizes and bounds as inputs. */
const OPSET = 13;
const SAMPLES = 1024;
/** Samples of one run. */
const BATCH = 64;
/** Runs that the ranges are searched on; every run that is not fitted on judges the corrections. */
const SEARCH_RUNS = 3;
const JUDGE_EVERY = 4;

/** Throws EngineError `recipe_invalid` without samples or without anything to quantize. Edits the model in place. */
export async function distributionAware(model: Model, options: DistributionAwareOptions, context: MethodContext): Promise<MethodOutcome> {
  if (!context.calibration)
    throw new EngineError('recipe_invalid', 'distribution-aware chooses ranges by outputs: give a data set with windows.');
  const started = performance.now();
  const upgraded = upgradeOpset(model, OPSET);
  if (upgraded.obstacle)
    throw new EngineError('recipe_invalid', `The model cannot be raised to operator set ${OPSET}: ${upgraded.obstacle}.`);
  const { per_channel: perChannel = true, ranges = 'searched', exclude = [] } = options;
  const plan = planQuantization(model, { perChannel, exclude, rounding: ranges === 'extremes' ? 'rtn' : 'mse' });
  if (plan.weights.length === 0)
    throw new EngineError('recipe_invalid', 'The model has no LSTM, GRU or product with constant weights that could be quantized.');
  const samples = { count: options.samples ?? SAMPLES, size: BATCH, signal: context.signal };
  const runs = await spreadSamples(context.calibration, samples);
  const settings = await chooseSettings(model, plan, { runs, options, context: partOf(context, 0, 0.9) });
  const float = cloneModel(model);
  emitQuantized(model, plan, settings);
  const kernels = await fasterKernels({ float, codes: model, settings, wish: options.integer_kernels ?? 'measure', context });
  if (kernels) adoptModel(model, kernels.model);
  const seconds = (performance.now() - started) / 1000;
  const calibration = {
    samples: runs.reduce((sum, { sampleCount }) => sum + sampleCount, 0),
    given: context.calibration.sampleCount,
    seconds,
  };
  const outcome = outcomeOf(plan, settings, { calibration, ...(kernels ? { kernels } : {}) });
  return { ...outcome, nodes: [...upgraded.changed, ...outcome.nodes] };
}

interface Choice {
  readonly runs: readonly SampleRun[];
  readonly options: DistributionAwareOptions;
  readonly context: MethodContext;
}

async function chooseSettings(model: Model, plan: QuantizationPlan, { runs, options, context }: Choice): Promise<Settings> {
  const { distance = 'error', ranges = 'searched' } = options;
  const isJudge = (_: SampleRun, at: number): boolean => at % JUDGE_EVERY === JUDGE_EVERY - 1;
  const judging = runs.filter(isJudge);
  const fitting = judging.length > 0 ? runs.filter((run, at) => !isJudge(run, at)) : runs;
  const searching = evenly(fitting, SEARCH_RUNS);
  const observation = await observePoints(model, plan, fitting, context);
  const localRange = (point: ReturnType<typeof pointsOf>[number], bits: number) => {
    const observed = observation.points.get(point.id);
    if (!observed) throw new RangeError(`distribution-aware: "${point.id}" was not observed`);
    return ranges === 'extremes' ? fullRange(observed) : leastErrorRange(point, observed, bits);
  };
  const settingsAt = (bits: ReadonlyMap<string, number>): Settings => ({
    bits,
    ranges: new Map(pointsOf(plan).map((point) => [point.id, localRange(point, bits.get(point.id) ?? 8)])),
    weights: new Map(
      plan.weights.map((planned) => [planned.constant.value.name, roundWeight(planned, bits.get(planned.constant.value.name) ?? 8)]),
    ),
    biases: new Map(),
  });
  const simulated = await SimulatedModel.open(model, plan, context);
  try {
    const searched: SearchRequest = {
      plan,
      simulated,
      runs: searching,
      reference: await floatAnswers(model, searching, context),
      distance,
      context: partOf(context, 0.3, 0.8),
    };
    const bits =
      options.allocation === 'sensitivity'
        ? await allocatedBits({
            options,
            settingsAt,
            localRange,
            observation,
            request: { ...searched, context: partOf(context, 0.1, 0.3) },
          })
        : uniformBits(plan, options);
    const local = settingsAt(bits);
    const ranged = ranges === 'searched' ? await searchRanges(local, searched) : local;
    const held = judging.length > 0 ? judging : fitting;
    const judge = { ...searched, runs: held, reference: await floatAnswers(model, held, context), distance: 'error' as const };
    const plain = await corrected(ranged, model, {
      plan,
      observation,
      fitting,
      judge,
      options,
      context: partOf(context, 0.8, options.training ? 0.82 : 1),
    });
    if (!options.training) return plain;
    const trained = await trainedSettings(plain, model, {
      plan,
      observation,
      options: options.training,
      context: partOf(context, 0.82, 1),
    });
    return (await distanceOf(trained, judge)) < (await distanceOf(plain, judge)) ? trained : plain;
  } finally {
    await simulated.close();
  }
}

interface Correcting {
  readonly plan: QuantizationPlan;
  readonly observation: Awaited<ReturnType<typeof observePoints>>;
  readonly fitting: readonly SampleRun[];
  readonly judge: SearchRequest;
  readonly options: DistributionAwareOptions;
  readonly context: MethodContext;
}

/** A correction stays when samples that it was not made on say that the outputs come nearer. */
async function corrected(
  start: Settings,
  model: Model,
  { plan, observation, fitting, judge, options, context }: Correcting,
): Promise<Settings> {
  const simulated = await SimulatedModel.open(model, plan, context, { shows: true });
  try {
    const request = { plan, simulated, runs: fitting, context };
    const better = async (now: Settings, tried: Settings): Promise<Settings> =>
      (await distanceOf(tried, judge)) < (await distanceOf(now, judge)) ? tried : now;
    const refit = (from: Settings): Promise<Settings> =>
      options.refit_head === false ? Promise.resolve(from) : refitHeads(from, model, request);
    const plain = await better(start, await refit(start));
    if (options.correct_biases === false) return plain;
    const shifted = await correctBiases(start, observation, request);
    return await better(plain, await better(shifted, await refit(shifted)));
  } finally {
    await simulated.close();
  }
}

/** At most `count` of them, spread over all. */
function evenly<T>(items: readonly T[], count: number): readonly T[] {
  const taken = Math.min(count, items.length);
  return Array.from({ length: taken }, (_, at) => items[Math.floor((at * items.length) / taken)] as T);
}

async function floatAnswers(model: Model, runs: readonly SampleRun[], context: MethodContext) {
  const session = await context.runtime.open(model);
  try {
    const parts: Float32Array[] = [];
    for (const run of runs) parts.push(sampleRows(await session.run(run.feeds), run));
    return { samples: runs.reduce((sum, { sampleCount }) => sum + sampleCount, 0), values: concatenated(parts) };
  } finally {
    await session.close();
  }
}
