/** Measures source and artifact side by side: interleaved latency, fidelity, task metrics, multiply-accumulates, fusion. */
import type { Evaluation } from '../evaluation/evaluate-models.js';
import { evaluateModels } from '../evaluation/evaluate-models.js';
import type { ImageOptions } from '../evaluation/image-quality.js';
import type { Model, Tensor } from '../ir/index.js';
import { countMacs } from '../ops/index.js';
import { type BenchmarkSubject, type Latency, measurePairLatencies } from '../runtime/benchmark.js';
import { type FusionReport, reportFusion } from '../runtime/fusion-report.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import type { OrtRuntime } from '../runtime/ort-session.js';
import type { RatioInterval } from '../timing/ratio-interval.js';
import type { EvaluationSource } from './evaluation-source.js';

export interface MeasureRequest {
  readonly sourcePath: string;
  readonly artifactPath: string;
  readonly source: Model;
  readonly artifact: Model;
  readonly samples: EvaluationSource;
  readonly scratch: string;
  readonly budgetMs: number;
  /** Wall time for fidelity; default: all samples. */
  readonly fidelityBudgetMs?: number;
  readonly image?: ImageOptions | undefined;
  readonly signal: AbortSignal;
  progress(fraction: number, message: string): void;
}

/** Sizes by name of the value. */
export type ValueShapes = ReadonlyMap<string, readonly number[]>;

export interface Measurements {
  readonly sourceLatency: Latency;
  readonly artifactLatency: Latency;
  /** Source over artifact, round against round. */
  readonly speedup: number;
  /** In which it lies, with a confidence of 95 %. */
  readonly speedupInterval: RatioInterval;
  readonly sourceMacs: number | null;
  readonly artifactMacs: number | null;
  /** Sizes of the values for the first sample; null where they could not be told. */
  readonly sourceShapes: ValueShapes | null;
  readonly artifactShapes: ValueShapes | null;
  readonly evaluation: Evaluation;
  readonly fusion: FusionReport | null;
  readonly warnings: readonly string[];
}

/** Larger models are not written out a second time to see what the runtime made of them. */
const FUSION_BYTES_MAX = 1e9;

/** Throws what running the models throws. */
export async function measurePair(runtime: OrtRuntime, request: MeasureRequest): Promise<Measurements> {
  const { samples, signal, progress } = request;
  const warnings: string[] = [];
  progress(0, 'latency, in turns');
  const subjectOf = (model: string): BenchmarkSubject => ({ model, feeds: samples.first });
  const {
    latencies: [sourceLatency, artifactLatency],
    speedup,
    ratio: speedupInterval,
  } = await measurePairLatencies(runtime, [subjectOf(request.sourcePath), subjectOf(request.artifactPath)], {
    budgetMs: request.budgetMs,
    signal,
    progress: (fraction) => progress(0.5 * fraction, 'latency, in turns'),
  });
  const evaluation = await evaluatePair(runtime, request);
  if (evaluation.samples < samples.sampleCount)
    warnings.push(
      `fidelity: measured on ${evaluation.samples} of ${samples.sampleCount} calibration samples; give an evaluation set to measure on all of it.`,
    );
  progress(0.9, 'shapes and fusion');
  const sourceShapes = await shapesOf(runtime, request.source, request, warnings);
  const artifactShapes = await shapesOf(runtime, request.artifact, request, warnings);
  signal.throwIfAborted();
  const fusion = await fusionOf(runtime, request, warnings);
  return {
    ...{ sourceLatency, artifactLatency, speedup, speedupInterval, sourceShapes, artifactShapes, evaluation, fusion, warnings },
    sourceMacs: sourceShapes && countMacs(request.source, sourceShapes).total,
    artifactMacs: artifactShapes && countMacs(request.artifact, artifactShapes).total,
  };
}

async function evaluatePair(
  runtime: OrtRuntime,
  { sourcePath, artifactPath, samples, fidelityBudgetMs, image, signal, progress }: MeasureRequest,
): Promise<Evaluation> {
  const reference = await runtime.open(sourcePath);
  try {
    const model = await runtime.open(artifactPath);
    try {
      return await evaluateModels({ model, reference }, samples, {
        inputs: samples.inputs,
        ...(image ? { image } : {}),
        signal,
        ...(fidelityBudgetMs === undefined ? {} : { budgetMs: fidelityBudgetMs }),
        progress: (fraction) =>
          progress(0.5 + 0.4 * fraction, `fidelity, ${samples.inputs === 'dataset' ? 'data set' : 'generated inputs'}`),
      });
    } finally {
      await model.close();
    }
  } finally {
    await reference.close();
  }
}

/** Sizes for the first sample; null, with a warning, when too little is known of them. */
async function shapesOf(
  runtime: OrtRuntime,
  model: Model,
  { samples }: { readonly samples: { readonly first: ReadonlyMap<string, Tensor> } },
  warnings: string[],
): Promise<ValueShapes | null> {
  try {
    return (await observeShapes(runtime, { model, feeds: samples.first })).shapes;
  } catch (error) {
    warnings.push(`macs: not counted (${error instanceof Error ? error.message : String(error)})`);
    return null;
  }
}

async function fusionOf(
  runtime: OrtRuntime,
  { artifact, artifactPath, scratch }: MeasureRequest,
  warnings: string[],
): Promise<FusionReport | null> {
  const bytes = [...artifact.graph.initializers.values()].reduce((sum, tensor) => sum + tensor.data.byteLength, 0);
  if (bytes > FUSION_BYTES_MAX) {
    warnings.push('fusion: not reported for models above 1 GB');
    return null;
  }
  try {
    return await reportFusion(runtime, artifactPath, scratch);
  } catch (error) {
    warnings.push(`fusion: not reported (${error instanceof Error ? error.message : String(error)})`);
    return null;
  }
}
