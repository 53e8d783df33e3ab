/** Runs a model, and a reference beside it, over samples: task metrics of both and the fidelity between them, in bounded memory. */
import type { ExecutionSession } from '../runtime/execution-session.js';
import { chooseBatchSize } from './batch-size.js';
import type { EvaluationInput } from './evaluation-input.js';
import { FidelityAccumulator, type FidelityResult } from './fidelity.js';
import type { ImageOptions } from './image-quality.js';
import { type Metrics, MetricsAccumulator } from './metrics.js';

export interface EvaluationOptions {
  readonly inputs: FidelityResult['inputs'];
  /** Compare outputs and labels as pictures, too. */
  readonly image?: ImageOptions;
  readonly signal?: AbortSignal;
  /** Stops after this time once a few samples were seen; default: all samples. */
  readonly budgetMs?: number;
  progress?(fraction: number): void;
}

/** Samples that are run whatever the budget is. */
const SAMPLES_MIN = 4;

export interface Evaluation {
  /** null without labels. */
  readonly metrics: Metrics | null;
  /** null without a reference. */
  readonly reference: { readonly metrics: Metrics | null; readonly fidelity: FidelityResult } | null;
  readonly samples: number;
  /** Samples per run. */
  readonly batch: number;
}

/** Throws EngineError `dataset_invalid` when labels do not fit the outputs, and what running throws. */
export async function evaluateModels(
  { model, reference }: { readonly model: ExecutionSession; readonly reference?: ExecutionSession },
  input: EvaluationInput,
  options: EvaluationOptions,
): Promise<Evaluation> {
  const batch = await chooseBatchSize(reference ? [reference, model] : [model], input);
  const fidelity = new FidelityAccumulator();
  const kind = { ...(options.image ? { image: options.image } : {}), ...(input.series ? { series: input.series } : {}) };
  const metrics = new MetricsAccumulator(kind);
  const referenceMetrics = new MetricsAccumulator(kind);
  let samples = 0;
  let labelled = false;
  const end = performance.now() + (options.budgetMs ?? Number.POSITIVE_INFINITY);
  for await (const run of input.runs(batch)) {
    options.signal?.throwIfAborted();
    const outputs = await model.run(run.feeds);
    const expected = await reference?.run(run.feeds);
    if (run.labels) {
      labelled = true;
      metrics.add(outputs, run.labels, run);
      if (expected) referenceMetrics.add(expected, run.labels, run);
    }
    if (expected) fidelity.add(expected, outputs, run);
    samples += run.sampleCount;
    options.progress?.(samples / input.sampleCount);
    if (samples >= SAMPLES_MIN && performance.now() > end) break;
  }
  return {
    metrics: labelled ? metrics.result : null,
    reference: reference ? { metrics: labelled ? referenceMetrics.result : null, fidelity: fidelity.result(options.inputs) } : null,
    samples,
    batch,
  };
}
