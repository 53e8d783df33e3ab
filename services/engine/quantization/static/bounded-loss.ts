/** Returns layers to float until the loss that the recipe allows is kept: the metric of the gate, or the noise on the calibration samples. */

import { controlAccuracy } from '../../evaluation/accuracy-control.js';
import { chooseBatchSize } from '../../evaluation/batch-size.js';
import { FidelityAccumulator } from '../../evaluation/fidelity.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { layerSensitivity } from '../sensitivity/layer-sensitivity.js';
import { openSwitchable } from '../sensitivity/switchable-model.js';
import type { IntegerUnit } from './integer-units.js';
import { layerSites } from './layer-sites.js';
import type { StaticInt8Options } from './options.js';
import { candidate, type QuantizedParts } from './static-candidate.js';

export interface LossRequest {
  /** The float model that was calibrated. */
  readonly model: Model;
  readonly units: readonly IntegerUnit[];
  readonly names: ReadonlySet<string>;
  readonly options: StaticInt8Options;
  readonly parts: QuantizedParts;
}

export interface BoundedUnits {
  readonly names: ReadonlySet<string>;
  /** Layers that returned to float, with the reason for the report. */
  readonly reverted: ReadonlyMap<string, string>;
  readonly warnings: readonly string[];
}

/** Samples of one judgement of noise, and of the ranking of layers. */
const SCORED_SAMPLES = 64;
const RANKED_SAMPLES = 16;

/** `names` less the layers that must return to float. Without a bound, or when it holds at once, all of them. */
export async function boundLoss(request: LossRequest, context: MethodContext): Promise<BoundedUnits> {
  const bound = boundOf(request, context);
  const layers = request.units.filter(({ name, layer }) => layer !== null && request.names.has(name));
  if (!bound || layers.length === 0) return { names: request.names, reverted: new Map(), warnings: [] };
  const without = (reverted: ReadonlySet<string>): ReadonlySet<string> => new Set([...request.names].filter((name) => !reverted.has(name)));
  const result = await controlAccuracy({
    units: layers.map(({ name }) => ({ id: name })),
    build: async (reverted) => candidate(request.model, without(reverted), request),
    score: bound.score,
    limit: bound.limit,
    rank: async (units) => rankedByNoise(request, units, context),
    signal: context.signal,
    progress: (fraction, message) => context.progress(fraction, message),
  });
  const reason = `returned to float32 to keep ${bound.words}`;
  return {
    names: without(new Set(result.reverted)),
    reverted: new Map(result.reverted.map((name) => [name, reason] as const)),
    warnings: result.met
      ? []
      : [`accuracy: ${bound.words} cannot be kept by returning layers to float32; the best model found is ${bound.tell(result.score)}.`],
  };
}

interface Bound {
  readonly limit: number;
  readonly words: string;
  score(candidate: Model): Promise<number>;
  tell(score: number): string;
}

function boundOf({ model, options }: LossRequest, context: MethodContext): Bound | null {
  const { judge, calibration } = context;
  if (judge) {
    const words = `max_metric_drop ${judge.maxDrop} of ${judge.metric}`;
    return { limit: judge.maxDrop, words, score: (each) => judge.drop(each), tell: (score) => `${score} worse` };
  }
  const { min_sqnr_db: least } = options;
  if (least === undefined || !calibration) return null;
  const score = async (each: Model): Promise<number> =>
    -(await outputSqnr({ model: each, reference: model, samples: calibration }, context));
  return { limit: -least, words: `min_sqnr_db ${least}`, score, tell: (value) => `at ${(-value).toFixed(1)} dB` };
}

/** Signal to noise ratio of the worst output on the first calibration samples; infinite for equal outputs. */
async function outputSqnr(
  { model, reference, samples }: { model: Model; reference: Model; samples: RunSource },
  { runtime, signal }: MethodContext,
): Promise<number> {
  const sessions = [await runtime.open(reference), await runtime.open(model)] as const;
  try {
    const sum = new FidelityAccumulator();
    const batch = await chooseBatchSize(sessions, samples);
    for await (const run of samples.runs(batch, SCORED_SAMPLES)) {
      signal.throwIfAborted();
      sum.add(await sessions[0].run(run.feeds), await sessions[1].run(run.feeds), { rows: run.rows, sampleCount: run.sampleCount });
    }
    const { sqnr_db, non_finite } = sum.result('dataset');
    return non_finite > 0 ? Number.NEGATIVE_INFINITY : (sqnr_db ?? Number.POSITIVE_INFINITY);
  } finally {
    for (const session of sessions) await session.close();
  }
}

/** The layers `wanted`, the one that alone brings most noise to the outputs first. */
async function rankedByNoise({ model, units, parts }: LossRequest, wanted: readonly string[], context: MethodContext): Promise<string[]> {
  const { calibration } = context;
  if (!calibration) return [...wanted];
  const names = new Set(wanted);
  const sites = layerSites(units, parts).filter(({ id }) => names.has(id));
  const switchable = await openSwitchable(model, sites, context);
  try {
    const samples = { source: calibration, limit: RANKED_SAMPLES };
    return (await layerSensitivity(switchable, sites, { samples, context })).map(({ site }) => site);
  } finally {
    await switchable.close();
  }
}
