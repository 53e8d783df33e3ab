/** Sums over the rows that layers' weights are multiplied with: one pass over the samples for many layers, only sums leave the runtime. */
import { integerValues, type Model, type Tensor, type Value } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { everyRow, groupsOf, layerRows, type RowLayer, rowSignature } from './layer-rows.js';
import { ProbeGraph } from './probe-graph.js';

export interface SummedLayer extends RowLayer {
  /** Key in the result; default the name of the activation. */
  readonly key?: string;
}

export interface RowSumRequest {
  readonly model: Model;
  readonly layers: readonly SummedLayer[];
  readonly samples: RunSource;
  readonly context: MethodContext;
  /** About as many rows are summed per layer at most, taken evenly from all samples. Default 200,000. */
  readonly rowsMax?: number;
  /** Rows of one sample by `rowSignature`, where they are known: layers that are missing here are run once to see them. */
  readonly rowsPerSample?: ReadonlyMap<string, number>;
}

/** What the probe computes of the rows of one layer in each run, and what is added up of it. */
export interface RowSum<T> {
  add(fetched: FetchedParts): void | Promise<void>;
  result(): T | Promise<T>;
  close?(): Promise<void>;
}

/** What a sum is made for. */
export interface SummedRows {
  /** [group, depth, rows], a value of the probe. */
  readonly rows: Value;
  readonly layer: RowLayer;
  /** About as many rows come in one run. */
  readonly rowsPerRun: number;
  /** About as many rows come in all. */
  readonly rowsTotal: number;
  /** Takes of other values [.., .., all rows] the rows that were taken of these. */
  thinned(all: Value): Value;
}

/** Outputs of a run by name; throws Error for one that the probe does not have. */
export type FetchedParts = (name: string) => Tensor;

const ROWS_MAX = 200_000;
/** Bytes of the largest matrix of rows in one run; some three copies of it live at once. */
const RUN_BYTES = 12 * 2 ** 20;
const SAMPLES_PER_RUN_MAX = 64;

/**
 * `sumOf` is given the rows of a layer inside the probe. Layers with the same rows are summed once. A layer
 * whose activation the main graph does not make (it lies in a branch) is missing in the result.
 */
export async function sumRows<T>(
  request: RowSumRequest,
  sumOf: (probe: ProbeGraph, summed: SummedRows) => RowSum<T>,
): Promise<Map<string, T>> {
  const { samples, context, model } = request;
  const distinct = new Map(request.layers.map((layer) => [rowSignature(layer), layer]));
  const rowsPerSample = await observedRows(request, [...distinct.values()]);
  if (rowsPerSample.size === 0) return new Map();
  const probe = new ProbeGraph(model);
  const bytesPerSample = Math.max(1, ...[...rowsPerSample].map(([layer, rows]) => 4 * rows * layer.depth * groupsOf(layer)));
  const size = Math.max(1, Math.min(SAMPLES_PER_RUN_MAX, Math.floor(RUN_BYTES / bytesPerSample)));
  const sums = new Map<string, RowSum<T>>();
  for (const [layer, each] of rowsPerSample) {
    const step = coprimeStep(Math.ceil((each * samples.sampleCount) / (request.rowsMax ?? ROWS_MAX)), each);
    const activation = probe.value(layer.activation) ?? missing(layer.activation);
    const thinned = (all: Value): Value => everyRow(probe, all, step);
    const counts = {
      rowsPerRun: Math.ceil((each / step) * (samples.fixedBatch ?? size)),
      rowsTotal: Math.ceil((each / step) * samples.sampleCount),
    };
    sums.set(rowSignature(layer), sumOf(probe, { rows: thinned(layerRows(probe, activation, layer)), layer, ...counts, thinned }));
  }
  try {
    await runAll({ model: probe.pruned(), samples, size, context }, async (fetched) => {
      for (const sum of sums.values()) await sum.add((name) => fetched.get(name) ?? missing(name));
    });
    return await resultsOf(request.layers, sums);
  } finally {
    for (const sum of sums.values()) await sum.close?.();
  }
}

async function resultsOf<T>(layers: readonly SummedLayer[], sums: ReadonlyMap<string, RowSum<T>>): Promise<Map<string, T>> {
  const results = new Map<string, T>();
  for (const [signature, sum] of sums) {
    const result = await sum.result();
    for (const layer of layers) if (rowSignature(layer) === signature) results.set(layer.key ?? layer.activation, result);
  }
  return results;
}

/** The least step from `least` on that has no common divisor with the rows of a sample: no column of an image is preferred. */
function coprimeStep(least: number, rows: number): number {
  for (let step = Math.max(1, least); ; step += 1) if (step === 1 || commonDivisor(step, rows) === 1) return step;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** Rows per sample, from a run of one; layers whose activation the main graph does not make are missing. */
async function observedRows(request: RowSumRequest, layers: readonly RowLayer[]): Promise<Map<RowLayer, number>> {
  const probe = new ProbeGraph(request.model);
  const shapes = new Map<string, RowLayer>();
  const rowsPerSample = new Map<RowLayer, number>();
  for (const layer of layers) {
    const known = request.rowsPerSample?.get(rowSignature(layer));
    const activation = probe.value(layer.activation);
    if (known !== undefined && activation) rowsPerSample.set(layer, known);
    else if (activation) shapes.set(probe.output(probe.node('Shape', [layerRows(probe, activation, layer)]), 'int64'), layer);
  }
  if (shapes.size === 0) return rowsPerSample;
  await runAll({ ...request, model: probe.pruned(), size: 1, limit: 1 }, (fetched, samples) => {
    for (const [name, layer] of shapes) {
      const [, , rows = 1] = integerValues(fetched.get(name) ?? missing(name));
      rowsPerSample.set(layer, Math.max(1, Math.round(rows / samples)));
    }
  });
  return rowsPerSample;
}

function missing(name: string): never {
  throw new Error(`the probe has no value "${name}"`);
}

export interface ProbeRuns {
  readonly model: Model;
  readonly samples: RunSource;
  /** Samples in one run. */
  readonly size: number;
  readonly context: MethodContext;
  readonly limit?: number;
}

/**
 * Runs the samples and hands over all outputs with the number of samples in the feeds. A last run that was filled up to a
 * fixed batch repeats samples, so it counts only when it is the first.
 */
export async function runAll(
  { model, samples, size, context, limit }: ProbeRuns,
  take: (fetched: ReadonlyMap<string, Tensor>, samples: number) => void | Promise<void>,
): Promise<void> {
  const session: ExecutionSession = await context.runtime.open(model);
  try {
    let isFirst = true;
    for await (const run of samples.runs(size, limit)) {
      context.signal.throwIfAborted();
      if (run.rows > run.sampleCount && !isFirst) continue;
      isFirst = false;
      await take(await session.run(run.feeds), run.rows);
    }
  } finally {
    await session.close();
  }
}
