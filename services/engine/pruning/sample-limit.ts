/** How many samples the normal equations of a model's layers are worth. */
import { elementCount, graphsWithin, intAttribute, type Model, type Node } from '../ir/index.js';
import { channelCount, channelDepth, channelLayout, matrixLayout } from '../layers/channel-layout.js';
import { reportName } from '../layers/weight-store.js';
import { countMacs } from '../ops/count-macs.js';

/** More would not move the normal equations, and cost the time of the job. */
const SAMPLES_MAX = 2000;
/** Fewer are no picture of the data, however many positions their maps have. */
const SAMPLES_MIN = 16;
/** Rows for each unknown of a layer from which its fit hardly moves: rows of one map resemble each other. */
const ROWS_PER_INPUT = 64;
/** Multiply-accumulates of all products X^T X: some seconds of a core. */
const PRODUCT_MACS = 2e11;

/**
 * A layer with d inputs that sees r rows in a sample costs r d^2 for its X^T X. As many samples as PRODUCT_MACS pay for; but
 * ROWS_PER_INPUT d rows for every layer, and not less than SAMPLES_MIN. `shapes` are of a run of `batch` samples.
 */
export function samplesWorth(model: Model, shapes: ReadonlyMap<string, readonly number[]>, batch: number): number {
  const layers = layersOf(model, shapes, batch);
  const cost = layers.reduce((sum, { rows, depth, groups }) => sum + rows * depth ** 2 * groups, 0);
  const needed = layers.map(({ rows, depth }) => Math.ceil((ROWS_PER_INPUT * depth) / rows));
  return Math.min(SAMPLES_MAX, Math.max(SAMPLES_MIN, Math.floor(PRODUCT_MACS / Math.max(1, cost)), ...needed));
}

export interface LayerRows {
  /** Of one sample. */
  readonly rows: number;
  readonly depth: number;
  readonly groups: number;
}

export function layersOf(model: Model, shapes: ReadonlyMap<string, readonly number[]>, batch: number): LayerRows[] {
  const nodes = new Map([...graphsWithin(model.graph)].flatMap((graph) => graph.nodes.map((node) => [reportName(node), node] as const)));
  return countMacs(model, shapes).perNode.flatMap(({ node, macs }) => {
    const product = nodes.get(node);
    const size = product && weightSize(product, model);
    if (!size || macs <= 0) return [];
    // A transposed convolution multiplies each input once, and has a row for each of its more outputs.
    const made = product.opType === 'ConvTranspose' ? shapes.get(product.outputs[0]?.name ?? '') : undefined;
    const rows = made ? elementCount(made) / size.outputs : macs / (size.depth * size.outputs);
    return [{ ...size, rows: rows / batch }];
  });
}

/** Inputs and outputs of the weight of a convolution, [K, N] of a MatMul, either way round of a Gemm. */
function weightSize(node: Node, { graph }: Model): { depth: number; outputs: number; groups: number } | undefined {
  const [, weight] = node.inputs;
  const dims = weight && graph.initializers.get(weight)?.dims;
  if (!dims || dims.length < 2 || node.domain !== '') return undefined;
  const layout =
    node.opType === 'Conv' || node.opType === 'ConvTranspose'
      ? channelLayout(node, dims)
      : node.opType === 'MatMul' || node.opType === 'Gemm'
        ? matrixLayout(intAttribute(node, 'transB', 0) === 1 ? 1 : 0, dims)
        : undefined;
  return layout && { depth: channelDepth(layout), outputs: channelCount(layout), groups: layout.groups };
}
