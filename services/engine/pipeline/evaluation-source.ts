/** Where the samples of a measurement come from: the caller's data set, or inputs made from the model's declarations. */
import { type DatasetFile, openDataset } from '../data/dataset.js';
import type { EvaluationInput } from '../evaluation/evaluation-input.js';
import { byteCount, elementCount, type Model, type Tensor } from '../ir/index.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { findSampleInputs } from '../runtime/sample-inputs.js';

/** Must be closed. */
export interface EvaluationSource extends EvaluationInput {
  readonly inputs: 'dataset' | 'generated';
  readonly labelled: boolean;
  /** Feeds of one run with a single sample: for latency and shapes. */
  readonly first: ReadonlyMap<string, Tensor>;
  close(): Promise<void>;
}

/** Enough for a stable signal-to-noise ratio of float outputs; a data set says more. Slow models get fewer. */
const GENERATED_SAMPLES = 16;
const GENERATED_SAMPLES_SLOW = 4;
const SLOW_RUN_MS = 250;

/**
 * `path` is a .npz or .npy file; `open` opens another session of the model, for the states of one that has a memory. Throws
 * EngineError `dataset_invalid` when the file does not fit the session's inputs.
 */
export async function datasetSource(
  { open, ...file }: DatasetFile & { open(): Promise<ExecutionSession> },
  { inputs, outputs }: ExecutionSession,
): Promise<EvaluationSource> {
  const dataset = await openDataset(file, inputs, { outputs, open });
  for await (const run of dataset.runs(1, 1)) {
    return { ...dataset, inputs: 'dataset', first: run.feeds };
  }
  await dataset.close();
  throw new RangeError('datasetSource: a validated data set has samples');
}

/** Throws EngineError `model_unsupported` when no inputs can be found that the model runs with. */
export async function generatedSource(model: Model, session: ExecutionSession): Promise<EvaluationSource> {
  const maker = await findSampleInputs(model, session);
  const first = maker.make(0);
  const started = performance.now();
  await session.run(first);
  const sampleCount = performance.now() - started > SLOW_RUN_MS ? GENERATED_SAMPLES_SLOW : GENERATED_SAMPLES;
  const sampleBytes = [...first.values()].reduce((sum, tensor) => sum + byteCount(tensor.dataType, elementCount(tensor.dims)), 0);
  return {
    inputs: 'generated',
    labelled: false,
    sampleCount,
    sampleBytes,
    fixedBatch: 1,
    first,
    async *runs(_size, limit = sampleCount) {
      for (let index = 0; index < Math.min(limit, sampleCount); index++) yield { feeds: maker.make(index), rows: 1, sampleCount: 1 };
    },
    close: async () => {},
  };
}
