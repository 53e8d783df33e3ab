/** What the measurements need of samples: feeds for runs of any size the models take. */
import type { Tensor } from '../ir/index.js';

/** Feeds of one run and what is known of them. */
export interface EvaluationRun {
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** Samples in the feeds; above `sampleCount` when a fixed batch was filled up. */
  readonly rows: number;
  readonly sampleCount: number;
  /** One row per real sample. */
  readonly labels?: Tensor;
}

/** Samples that can be had in runs of any size the models take. */
export interface EvaluationInput {
  readonly sampleCount: number;
  readonly sampleBytes: number;
  /** Samples that one run must take; null when the graph takes any number. */
  readonly fixedBatch: number | null;
  runs(size: number, limit?: number): AsyncIterable<EvaluationRun>;
}
