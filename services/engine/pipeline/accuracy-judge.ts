/** Judges candidates on the way by what the gate will ask of the artifact: the drop of the task metric on the labelled samples. */
import { EngineError } from '../engine-errors.js';
import { evaluateModels } from '../evaluation/evaluate-models.js';
import type { ImageOptions } from '../evaluation/image-quality.js';
import type { Metrics } from '../evaluation/metrics.js';
import { isFloating, type Model } from '../ir/index.js';
import type { AccuracyJudge } from '../method.js';
import type { Runtime } from '../runtime/execution-session.js';
import type { EvaluationSource } from './evaluation-source.js';
import { metricDrop } from './gate.js';
import type { MetricName, QualityGate } from './plan.js';

/** Differences of shares carry rounding in the last digit; a drop of exactly the limit passes the gate. */
const DECIMALS = 1e12;

export interface JudgeRequest {
  readonly runtime: Runtime;
  readonly sourcePath: string;
  readonly samples: EvaluationSource;
  readonly gate: QualityGate | undefined;
  readonly image?: ImageOptions | undefined;
  readonly signal: AbortSignal;
}

/** Undefined when the gate does not bound the loss of a metric or the samples have no labels. The source is measured at the first call. */
export async function accuracyJudge(request: JudgeRequest): Promise<AccuracyJudge | undefined> {
  const { gate, samples, sourcePath } = request;
  const maxDrop = gate?.max_metric_drop;
  if (maxDrop === undefined || !samples.labelled) return undefined;
  const metric = gate?.metric ?? (await metricOfLabels(samples));
  let source: Promise<Metrics | null> | undefined;
  return {
    metric,
    maxDrop,
    async drop(candidate) {
      source ??= metricsOf(sourcePath, request);
      const drop = metricDrop(metric, await source, await metricsOf(candidate, request));
      if (drop !== null) return Math.round(drop * DECIMALS) / DECIMALS;
      throw new EngineError('recipe_invalid', `The gate names the metric "${metric}", which these labels and outputs do not have.`);
    },
  };
}

/** The default metric of the gate (gate.ts), known before anything is evaluated: errors for real labels, accuracy for classes. */
async function metricOfLabels(samples: EvaluationSource): Promise<MetricName> {
  for await (const { labels } of samples.runs(1, 1)) if (labels && isFloating(labels.dataType)) return 'mse';
  return 'top1';
}

async function metricsOf(model: string | Model, { runtime, samples, image, signal }: JudgeRequest): Promise<Metrics | null> {
  const session = await runtime.open(model);
  try {
    return (await evaluateModels({ model: session }, samples, { inputs: samples.inputs, ...(image ? { image } : {}), signal })).metrics;
  } finally {
    await session.close();
  }
}
