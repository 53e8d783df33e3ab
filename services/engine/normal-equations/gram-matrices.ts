/** Normal equations of layers, X^T X of the rows that their weights are multiplied with: computed by the runtime, summed in float64. */
import { float32Values, integerValues, type Value } from '../ir/index.js';
import { groupsOf, type RowLayer } from './layer-rows.js';
import type { ProbeGraph } from './probe-graph.js';
import { type FetchedParts, type RowSum, type RowSumRequest, type SummedLayer, sumRows } from './row-sums.js';

export { type ConvolutionWindow, convolutionWindow } from './layer-rows.js';

export type GramLayer = SummedLayer;

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

export type GramRequest = RowSumRequest;

/** Elements of all Gram matrices that one session returns: more layers are taken in several passes. */
const PASS_ELEMENTS_MAX = 2 ** 24;

/** The matrices by key. A layer whose activation the main graph does not make (it lies in a branch) is missing. */
export async function gramMatrices(request: GramRequest): Promise<Map<string, GramMatrix>> {
  const results = new Map<string, GramMatrix>();
  for (const layers of passes(request.layers)) {
    const sums = await sumRows({ ...request, layers }, (probe, rows, layer) => new GramSum(probe, rows, layer));
    for (const [key, sum] of sums) results.set(key, sum);
  }
  return results;
}

function* passes(layers: readonly GramLayer[]): Generator<GramLayer[]> {
  let pass: GramLayer[] = [];
  let elements = 0;
  for (const layer of layers) {
    const size = groupsOf(layer) * layer.depth ** 2;
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

/** One layer's sums: what the probe computes of each run, and what has been added up. */
class GramSum implements RowSum<GramMatrix> {
  private readonly outputs: { readonly gram: string; readonly mean: string; readonly shape: string };
  private readonly gram: Float64Array;
  private readonly mean: Float64Array;
  private rows = 0;

  constructor(
    probe: ProbeGraph,
    rows: Value,
    private readonly layer: RowLayer,
  ) {
    const groups = groupsOf(layer);
    this.gram = new Float64Array(groups * layer.depth ** 2);
    this.mean = new Float64Array(groups * layer.depth);
    this.outputs = {
      gram: probe.output(probe.node('MatMul', [rows, probe.transpose(rows, [0, 2, 1])]), 'float32'),
      mean: probe.output(probe.node('GlobalAveragePool', [rows]), 'float32'),
      shape: probe.output(probe.node('Shape', [rows]), 'int64'),
    };
  }

  add(part: FetchedParts): void {
    const [, , rows = 0] = integerValues(part(this.outputs.shape));
    addTo(this.gram, float32Values(part(this.outputs.gram)), 1);
    addTo(this.mean, float32Values(part(this.outputs.mean)), rows);
    this.rows += rows;
  }

  result(): GramMatrix {
    const { depth } = this.layer;
    return { gram: this.gram, groups: groupsOf(this.layer), depth, rows: this.rows, mean: this.mean.map((sum) => sum / this.rows) };
  }
}

/** A loop over indices: of a model with a fixed batch there is one matrix for each sample, and iterators took most of the time. */
function addTo(sums: Float64Array, values: Float32Array, factor: number): void {
  for (let at = 0; at < values.length; at += 1) sums[at] = (sums[at] ?? 0) + factor * (values[at] ?? 0);
}
