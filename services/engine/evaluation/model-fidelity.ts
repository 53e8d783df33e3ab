/** How closely a candidate answers as the model it was made from, on calibration samples, at its outputs or inside. */

import { cloneModel, type Model } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import { chooseBatchSize } from './batch-size.js';
import { FidelityAccumulator, type FidelityResult } from './fidelity.js';

/** Runs both on the first `limit` samples. Throws what opening and running throws, and on cancellation. */
export async function modelFidelity(
  { candidate, reference }: { readonly candidate: Model; readonly reference: Model },
  { source, limit }: { readonly source: RunSource; readonly limit: number },
  { runtime, signal }: Pick<MethodContext, 'runtime' | 'signal'>,
): Promise<FidelityResult> {
  const before = await runtime.open(reference);
  try {
    const after = await runtime.open(candidate);
    try {
      const sums = new FidelityAccumulator();
      const batch = await chooseBatchSize([before, after], source);
      for await (const { feeds, rows, sampleCount } of source.runs(batch, limit)) {
        signal.throwIfAborted();
        sums.add(await before.run(feeds), await after.run(feeds), { rows, sampleCount });
      }
      return sums.result('dataset');
    } finally {
      await after.close();
    }
  } finally {
    await before.close();
  }
}

/**
 * The same for values of the main graph that both models make, by name. All of them are held for one sample at a time, and the
 * models run without fusion across them.
 */
export async function innerFidelity(
  { candidate, reference, values }: { readonly candidate: Model; readonly reference: Model; readonly values: readonly string[] },
  samples: { readonly source: RunSource; readonly limit: number },
  context: Pick<MethodContext, 'runtime' | 'signal'>,
): Promise<ReadonlyMap<string, number>> {
  const made = madeBy(candidate);
  const names = values.filter((name) => made.has(name) && madeBy(reference).has(name));
  if (names.length === 0) return new Map();
  const pair = { candidate: showing(candidate, names), reference: showing(reference, names) };
  const source = { ...samples.source, fixedBatch: samples.source.fixedBatch ?? 1 };
  const { outputs } = await modelFidelity(pair, { ...samples, source }, context);
  return new Map(outputs.flatMap(({ name, sqnr_db }) => (sqnr_db === null || !names.includes(name) ? [] : [[name, sqnr_db] as const])));
}

function madeBy({ graph }: Model): ReadonlySet<string> {
  return new Set(graph.nodes.flatMap(({ outputs }) => outputs.flatMap((output) => output?.name ?? [])));
}

/** A copy with these values as its outputs. */
function showing(model: Model, names: readonly string[]): Model {
  const copy = cloneModel(model);
  const values = copy.graph.nodes.flatMap(({ outputs }) => outputs).filter((value) => value !== null && names.includes(value.name));
  copy.graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...values.filter((value) => value !== null));
  return copy;
}
