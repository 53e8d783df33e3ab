/** How many samples one run takes: several, when the tensors show the same for a batch as for its samples one by one. */
import { EngineError } from '../engine-errors.js';
import { elementCount } from '../ir/index.js';
import type { RunSource } from '../method.js';
import type { ObservedTensor } from './observed-run.js';
import type { RunObserver } from './run-observer.js';

/** Bytes of the observed activations of one run; fewer when they leave the runtime, where JavaScript collects them late. */
const BATCH_BYTES_MAX = { reduced: 32 * 2 ** 20, whole: 8 * 2 ** 20 };
const BATCH_MAX = 64;
const PROBED_SAMPLES = 4;
/** Kernels chosen by size round differently (1e-6); ranges taken over a batch, as in dynamic quantization, move values by 1e-3. */
const RELATIVE_TOLERANCE = 1e-4;

/** The batch worth trying, by bytes. `dims` are those of one sample. */
export function wantedBatch(
  samples: RunSource,
  { dims, reading }: { readonly dims: ReadonlyMap<string, readonly number[]>; readonly reading: 'reduced' | 'whole' },
): number {
  if (samples.fixedBatch !== null) return samples.fixedBatch;
  const bytes = [...dims.values()].reduce((sum, each) => sum + 4 * elementCount(each), samples.sampleBytes);
  return Math.max(1, Math.min(BATCH_MAX, samples.sampleCount, Math.floor(BATCH_BYTES_MAX[reading] / Math.max(1, bytes))));
}

/** Whether a batch shows of every tensor what its samples show together. */
export async function isBatchable(observer: RunObserver, samples: RunSource): Promise<boolean> {
  const alone: ReadonlyMap<string, ObservedTensor>[] = [];
  for await (const { feeds } of samples.runs(1, PROBED_SAMPLES)) alone.push(await observer.run(feeds));
  try {
    for await (const { feeds } of samples.runs(alone.length, alone.length)) {
      for (const [name, together] of await observer.run(feeds)) {
        const parts = alone.flatMap((tensors) => tensors.get(name) ?? []);
        if (!showsTheSame(together, parts)) return false;
      }
    }
    return true;
  } catch (error) {
    /** A graph with a batch size built in refuses other sizes here; that is an answer, not a failure. */
    if (error instanceof EngineError) return false;
    throw error;
  }
}

/** A tensor that does not depend on the samples has the size of one of them. */
function showsTheSame(together: ObservedTensor, alone: readonly ObservedTensor[]): boolean {
  const count = alone.reduce((sum, each) => sum + each.count + each.nonFinite, 0);
  const size = together.count + together.nonFinite;
  if (size !== count && size !== alone[0]?.count) return false;
  const min = Math.min(...alone.map((each) => each.min));
  const max = Math.max(...alone.map((each) => each.max));
  const mean = alone.reduce((sum, each) => sum + (each.mean ?? 0) * each.count, 0) / Math.max(1, count);
  const allowed = RELATIVE_TOLERANCE * Math.max(Math.abs(min), Math.abs(max));
  return !(
    Math.abs(together.min - min) > allowed ||
    Math.abs(together.max - max) > allowed ||
    Math.abs((together.mean ?? 0) - mean) > allowed
  );
}
