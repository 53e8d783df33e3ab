/** Normal equations of layers, X^T X of the rows that their weights are multiplied with: computed by the runtime, summed in float64. */
import { float32Values, integerValues, type Model, type Tensor } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { everyRow, layerRows, type RowLayer, rowSignature } from './layer-rows.js';
import { ProbeGraph } from './probe-graph.js';

export { type ConvolutionWindow, convolutionWindow } from './layer-rows.js';

export interface GramLayer extends RowLayer {
  /** Key in the result; default the name of the activation. */
  readonly key?: string;
}

export interface GramMatrix {
  /** [groups, K, K]: the sum over all rows x of x x^T; K in the order of the flattened weight of one output. */
  readonly gram: Float64Array;
  readonly groups: number;
  readonly depth: number;
  /** Rows that were summed. */
  readonly rows: number;
  /** [groups, K]: the mean of the rows. */
  readonly mean: Float64Array;
}

export interface GramRequest {
  readonly model: Model;
  readonly layers: readonly GramLayer[];
  readonly samples: RunSource;
  readonly context: MethodContext;
  /** About as many rows are summed per layer at most, taken evenly from all samples. Default 200,000. */
  readonly rowsMax?: number;
}

const ROWS_MAX = 200_000;
/** Bytes of the largest matrix of rows in one run; some three copies of it live at once. */
const RUN_BYTES = 12 * 2 ** 20;
const SAMPLES_PER_RUN_MAX = 64;
/** Elements of all Gram matrices that one session returns: more layers are taken in several passes. */
const PASS_ELEMENTS_MAX = 2 ** 24;

/** The matrices by key. A layer whose activation the main graph does not make (it lies in a branch) is missing. */
export async function gramMatrices(request: GramRequest): Promise<Map<string, GramMatrix>> {
  const results = new Map<string, GramMatrix>();
  for (const layers of passes(request.layers)) {
    const distinct = new Map(layers.map((layer) => [rowSignature(layer), layer]));
    const sums = await summedGrams(request, [...distinct.values()]);
    for (const layer of layers) {
      const sum = sums.get(rowSignature(layer));
      if (sum) results.set(layer.key ?? layer.activation, sum);
    }
  }
  return results;
}

function* passes(layers: readonly GramLayer[]): Generator<GramLayer[]> {
  let pass: GramLayer[] = [];
  let elements = 0;
  for (const layer of layers) {
    const size = (layer.window?.group ?? 1) * layer.depth ** 2;
    if (pass.length > 0 && elements + size > PASS_ELEMENTS_MAX) {
      yield pass;
      pass = [];
      elements = 0;
    }
    pass.push(layer);
    elements += size;
  }
  if (pass.length > 0) yield pass;
}

async function summedGrams(request: GramRequest, layers: readonly GramLayer[]): Promise<Map<string, GramMatrix>> {
  const { samples, context, model } = request;
  const rowsPerSample = await observedRows(request, layers);
  if (rowsPerSample.size === 0) return new Map();
  const probe = new ProbeGraph(model);
  const sums: GramSum[] = [];
  let bytesPerSample = 1;
  for (const [layer, rows] of rowsPerSample) {
    const step = coprimeStep(Math.ceil((rows * samples.sampleCount) / (request.rowsMax ?? ROWS_MAX)), rows);
    sums.push(new GramSum(layer, probe, step));
    bytesPerSample = Math.max(bytesPerSample, 4 * rows * layer.depth * (layer.window?.group ?? 1));
  }
  const size = Math.max(1, Math.min(SAMPLES_PER_RUN_MAX, Math.floor(RUN_BYTES / bytesPerSample)));
  await runAll({ model: probe.pruned(), samples, size, context }, (fetched) => {
    for (const sum of sums) sum.add(fetched);
  });
  return new Map(sums.map((sum) => [rowSignature(sum.layer), sum.result()]));
}

/** The least step from `least` on that has no common divisor with the rows of a sample: no column of an image is preferred. */
function coprimeStep(least: number, rows: number): number {
  for (let step = Math.max(1, least); ; step += 1) if (step === 1 || commonDivisor(step, rows) === 1) return step;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

/** Rows per sample, from a run of one; layers whose activation the main graph does not make are missing. */
async function observedRows(request: GramRequest, layers: readonly GramLayer[]): Promise<Map<GramLayer, number>> {
  const probe = new ProbeGraph(request.model);
  const shapes = new Map<string, GramLayer>();
  for (const layer of layers) {
    const activation = probe.value(layer.activation);
    if (activation) shapes.set(probe.output(probe.node('Shape', [layerRows(probe, activation, layer)]), 'int64'), layer);
  }
  const rowsPerSample = new Map<GramLayer, number>();
  if (shapes.size === 0) return rowsPerSample;
  await runAll({ ...request, model: probe.pruned(), size: 1, limit: 1 }, (fetched, samples) => {
    for (const [name, layer] of shapes) {
      const [, , rows = 1] = integerValues(fetched.get(name) ?? missing(name));
      rowsPerSample.set(layer, Math.max(1, Math.round(rows / samples)));
    }
  });
  return rowsPerSample;
}

/** One layer's sums: what the probe computes of each run, and what has been added up. */
class GramSum {
  private readonly outputs: { readonly gram: string; readonly mean: string; readonly shape: string };
  private readonly gram: Float64Array;
  private readonly mean: Float64Array;
  private rows = 0;

  constructor(
    readonly layer: GramLayer,
    probe: ProbeGraph,
    step: number,
  ) {
    const groups = layer.window?.group ?? 1;
    this.gram = new Float64Array(groups * layer.depth ** 2);
    this.mean = new Float64Array(groups * layer.depth);
    const activation = probe.value(layer.activation) ?? missing(layer.activation);
    const rows = everyRow(probe, layerRows(probe, activation, layer), step);
    this.outputs = {
      gram: probe.output(probe.node('MatMul', [rows, probe.transpose(rows, [0, 2, 1])]), 'float32'),
      mean: probe.output(probe.node('GlobalAveragePool', [rows]), 'float32'),
      shape: probe.output(probe.node('Shape', [rows]), 'int64'),
    };
  }

  add(fetched: ReadonlyMap<string, Tensor>): void {
    const part = (name: string): Tensor => fetched.get(name) ?? missing(name);
    const [, , rows = 0] = integerValues(part(this.outputs.shape));
    for (const [at, value] of float32Values(part(this.outputs.gram)).entries()) this.gram[at] = (this.gram[at] ?? 0) + value;
    for (const [at, value] of float32Values(part(this.outputs.mean)).entries()) this.mean[at] = (this.mean[at] ?? 0) + value * rows;
    this.rows += rows;
  }

  result(): GramMatrix {
    const { depth, window } = this.layer;
    return { gram: this.gram, groups: window?.group ?? 1, depth, rows: this.rows, mean: this.mean.map((sum) => sum / this.rows) };
  }
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
  take: (fetched: ReadonlyMap<string, Tensor>, samples: number) => void,
): Promise<void> {
  const session: ExecutionSession = await context.runtime.open(model);
  try {
    let isFirst = true;
    for await (const run of samples.runs(size, limit)) {
      context.signal.throwIfAborted();
      if (run.rows > run.sampleCount && !isFirst) continue;
      isFirst = false;
      take(await session.run(run.feeds), run.rows);
    }
  } finally {
    await session.close();
  }
}
