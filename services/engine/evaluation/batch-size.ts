/** How many samples one run may take: several, when the models answer for each of them as if it came alone. */
import type { Tensor } from '../ir/index.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import type { EvaluationInput, EvaluationRun } from './evaluation-input.js';
import { elementsOf } from './tensor-elements.js';

const BATCH_MAX = 64;
/** Bytes of the feeds of one run; activations are a multiple of it. */
const BATCH_BYTES_MAX = 4 * 2 ** 20;
const PROBED_SAMPLES = 4;
/** A sample that takes this long keeps the processor busy alone; a batch of them would only hold more activations at once. */
const BUSY_RUN_MS = 8;
/** Kernels chosen by size round differently (1e-6); a range taken over the batch, as in dynamic quantization, moves results by 1e-3 and more. */
const RELATIVE_TOLERANCE = 1e-4;

/**
 * The batch for measuring `sessions`, 1 for models that are slow enough alone, and unless all of them give for a batch what they give for single samples.
 * Dynamic quantization takes ranges over a whole batch, so such models are measured one sample at a time, as they are used.
 */
export async function chooseBatchSize(sessions: readonly ExecutionSession[], input: EvaluationInput): Promise<number> {
  if (input.fixedBatch !== null) return input.fixedBatch;
  const wanted = Math.min(BATCH_MAX, input.sampleCount, Math.floor(BATCH_BYTES_MAX / Math.max(1, input.sampleBytes)));
  if (wanted < 2) return 1;
  const singles = await collect(input.runs(1, PROBED_SAMPLES));
  if (await isBusyAlone(sessions[0], singles)) return 1;
  const [batch] = await collect(input.runs(singles.length, singles.length));
  if (!batch) return 1;
  for (const session of sessions) if (!(await answersAlike(session, batch, singles))) return 1;
  return wanted;
}

async function isBusyAlone(session: ExecutionSession | undefined, singles: readonly EvaluationRun[]): Promise<boolean> {
  let fastest = Number.POSITIVE_INFINITY;
  for (const { feeds } of singles.slice(0, 2)) {
    const started = performance.now();
    await session?.run(feeds);
    fastest = Math.min(fastest, performance.now() - started);
  }
  return fastest >= BUSY_RUN_MS;
}

async function collect(runs: AsyncIterable<EvaluationRun>): Promise<EvaluationRun[]> {
  const all: EvaluationRun[] = [];
  for await (const run of runs) all.push(run);
  return all;
}

type Feeds = { readonly feeds: ReadonlyMap<string, Tensor> };

/** Whether the model answers for each of the samples `singles` in a batch as if it came alone. */
export async function answersAlike(session: ExecutionSession, batch: Feeds, singles: readonly Feeds[]): Promise<boolean> {
  const alone: ReadonlyMap<string, Tensor>[] = [];
  for (const single of singles) alone.push(await session.run(single.feeds));
  let together: ReadonlyMap<string, Tensor>;
  try {
    together = await session.run(batch.feeds);
  } catch {
    /** A graph with a batch size built in refuses other sizes here; that is an answer, not a failure. */
    return false;
  }
  return [...together].every(([name, output]) =>
    sameRows(
      output,
      alone.map((outputs) => outputs.get(name)),
    ),
  );
}

function sameRows(together: Tensor, alone: readonly (Tensor | undefined)[]): boolean {
  if (together.dims[0] !== alone.length || together.dataType === 'string') return false;
  const batched = elementsOf(together);
  const each = batched.length / alone.length;
  return alone.every((tensor, row) => {
    const single = tensor && elementsOf(tensor);
    if (single?.length !== each) return false;
    const scale = maxMagnitude(single);
    for (let index = 0; index < each; index++) {
      const difference = Math.abs((batched[row * each + index] ?? Number.NaN) - (single[index] ?? Number.NaN));
      if (difference > RELATIVE_TOLERANCE * scale) return false;
    }
    return true;
  });
}

function maxMagnitude(values: ArrayLike<number>): number {
  let largest = 0;
  for (let index = 0; index < values.length; index++) largest = Math.max(largest, Math.abs(values[index] ?? 0));
  return largest;
}
