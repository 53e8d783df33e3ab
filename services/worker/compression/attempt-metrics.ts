/** What one attempt adds to the metrics of the worker. */
import Type from 'typebox';
import Value from 'typebox/value';
import type { WorkerMetrics } from '#platform/observability';

export interface AttemptFigures {
  readonly recipe: unknown;
  /** The state this attempt wrote; null when it had no right to write. */
  readonly state: string | null;
  /** Error code of a failed job. */
  readonly code: string | null;
  readonly seconds: number;
}

const Recipe = Type.Object({ steps: Type.Array(Type.Object({ method: Type.String() })) });
const Result = Type.Object({
  size_ratio: Type.Number(),
  source: Type.Object({ metrics: Type.Object({ top1: Type.Number() }) }),
  artifact: Type.Object({ metrics: Type.Object({ top1: Type.Number() }) }),
});

/** An attempt that gave the job back ended nothing: only its run time counts. */
export function countAttempt({ jobsFinished, runSeconds }: WorkerMetrics, { recipe, state, code, seconds }: AttemptFigures): void {
  // The last step is the one that compresses; the recipes as a whole are too many for a label.
  const method = Value.Check(Recipe, recipe) ? recipe.steps.at(-1)?.method : undefined;
  runSeconds.observe({ method: method ?? 'none' }, seconds);
  if (state !== null && state !== 'queued') jobsFinished.inc({ state, code: code ?? 'none' });
}

/** The figures of a report that says so; without class labels there is no accuracy. */
export function countResult({ compressionRatio, accuracyDrop }: WorkerMetrics, result: Readonly<Record<string, unknown>>): void {
  if (Value.Check(Result.properties.size_ratio, result.size_ratio)) compressionRatio.observe(result.size_ratio);
  if (Value.Check(Result, result)) accuracyDrop.observe(result.source.metrics.top1 - result.artifact.metrics.top1);
}
