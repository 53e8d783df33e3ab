/** Samples that lie evenly over all that there are: neighbouring windows of a series are nearly the same, its first ones know no winter. */
import { bytesInMemory, joinRows } from '../ir/index.js';
import type { RunSource, SampleRun } from '../method.js';

/** What they may take in memory; fewer samples are taken then. */
const BYTES_MAX = 128 * 2 ** 20;

/** At most `count` samples, held in memory, each run of at most `size` of them (or of the model's own batch). */
export async function spreadSamples(
  source: RunSource,
  { count, size, signal }: { count: number; size: number; signal: AbortSignal },
): Promise<readonly SampleRun[]> {
  const each = source.fixedBatch ?? 1;
  const affordable = Math.max(1, Math.floor(BYTES_MAX / Math.max(1, source.sampleBytes)));
  const wanted = Math.max(1, Math.floor(Math.min(count, affordable, source.sampleCount) / each));
  const runs = Math.max(1, Math.ceil(source.sampleCount / each));
  const chosen: SampleRun[] = [];
  let at = 0;
  for await (const run of source.runs(each)) {
    signal.throwIfAborted();
    // Run k of n is taken for every m with floor(m n / wanted) = k.
    if (Math.floor((chosen.length * runs) / wanted) === at) chosen.push(detached(run));
    at += 1;
    if (chosen.length === wanted) break;
  }
  return source.fixedBatch === null ? batched(chosen, size) : chosen;
}

/** Feeds that keep no larger buffer alive. */
function detached(run: SampleRun): SampleRun {
  const { labels: _, ...rest } = run;
  return {
    ...rest,
    feeds: new Map([...run.feeds].map(([name, tensor]) => [name, { ...tensor, data: bytesInMemory(Uint8Array.from(tensor.data.read())) }])),
  };
}

function batched(runs: readonly SampleRun[], size: number): SampleRun[] {
  const batches: SampleRun[] = [];
  for (let start = 0; start < runs.length; start += size) {
    const part = runs.slice(start, start + size);
    const [first] = part;
    if (!first) continue;
    const feeds = new Map([...first.feeds.keys()].map((name) => [name, joinRows(part.flatMap(({ feeds }) => feeds.get(name) ?? []))]));
    batches.push({ feeds, rows: part.length, sampleCount: part.length });
  }
  return batches;
}
