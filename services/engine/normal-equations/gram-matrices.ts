/** Normal equations of layers, X^T X of the rows that their weights are multiplied with: computed by the runtime, summed in float64. */
import { float32Values, integerValues, type Value } from '../ir/index.js';
import { portions } from '../layers/portions.js';
import { GatheredGramSum } from './gathered-grams.js';
import { type GramMatrix, GramTotals } from './gram-totals.js';
import { groupsOf, type RowLayer } from './layer-rows.js';
import type { ProbeGraph } from './probe-graph.js';
import { type FetchedParts, type RowSum, type RowSumRequest, type SummedLayer, sumRows } from './row-sums.js';

export type { GramMatrix } from './gram-totals.js';
export { type ConvolutionWindow, convolutionWindow } from './layer-rows.js';

export type GramLayer = SummedLayer;

export type GramRequest = RowSumRequest;

/** Elements of all Gram matrices that one session returns: more layers are taken in several passes. */
const PASS_ELEMENTS_MAX = 2 ** 24;

/** The matrices by key. A layer whose activation the main graph does not make (it lies in a branch) is missing. */
export async function gramMatrices(request: GramRequest): Promise<Map<string, GramMatrix>> {
  const results = new Map<string, GramMatrix>();
  for (const layers of portions(request.layers, PASS_ELEMENTS_MAX, (layer) => groupsOf(layer) * layer.depth ** 2)) {
    const sums = await sumRows<GramMatrix>({ ...request, layers }, (probe, { rows, layer, rowsPerRun }) =>
      rowsPerRun < FEW_ROWS * layer.depth
        ? new GatheredGramSum(probe, rows, layer, request.context.runtime)
        : new GramSum(probe, rows, layer),
    );
    for (const [key, sum] of sums) results.set(key, sum);
  }
  return results;
}

/** Rows in one run, as a part of K, below which they leave the runtime themselves: the K x K product of a few rows is mostly memory. */
const FEW_ROWS = 0.25;

/** One layer's sums: what the probe computes of each run, and what has been added up. */
class GramSum implements RowSum<GramMatrix> {
  private readonly outputs: { readonly gram: string; readonly mean: string; readonly shape: string };
  private readonly sums: GramTotals;

  constructor(probe: ProbeGraph, rows: Value, layer: RowLayer) {
    this.sums = new GramTotals(layer);
    this.outputs = {
      gram: probe.output(probe.node('MatMul', [rows, probe.transpose(rows, [0, 2, 1])]), 'float32'),
      mean: probe.output(probe.node('GlobalAveragePool', [rows]), 'float32'),
      shape: probe.output(probe.node('Shape', [rows]), 'int64'),
    };
  }

  add(part: FetchedParts): void {
    const [, , rows = 0] = integerValues(part(this.outputs.shape));
    this.sums.add(float32Values(part(this.outputs.gram)), float32Values(part(this.outputs.mean)), rows);
  }

  result(): GramMatrix {
    return this.sums.result();
  }
}
