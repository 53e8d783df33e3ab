/** Rounds layers one after the other on what their inputs are in the network that is already rounded before them. */
import { float32Values, type Model, type Node } from '../../ir/index.js';
import { channelCount, channelDepth, toRows } from '../../layers/channel-layout.js';
import { layerPasses } from '../../layers/layer-passes.js';
import type { MethodContext, RunSource } from '../../method.js';
import { convolutionWindow, type GramMatrix, gramMatrices } from '../../normal-equations/gram-matrices.js';
import { quadraticForm } from '../../normal-equations/linear-algebra.js';
import { type MeanTensor, meanOutputs } from '../../normal-equations/mean-outputs.js';
import { type RoundingAlgorithm, roundLayer } from './layer-rounding.js';
import { RoundedCopy } from './rounded-copy.js';
import type { SequentialLayer, SequentialResult } from './sequential-layer.js';

export interface SequentialRequest {
  readonly model: Model;
  readonly layers: readonly SequentialLayer[];
  readonly algorithm: RoundingAlgorithm;
  readonly samples: RunSource;
  readonly context: MethodContext;
}

/** Each pass runs the part of the network before it; deeper networks take several levels at once. */
const PASSES_MAX = 24;

/**
 * Passes in topological order (methods.md 3.6): normal equations of the layers of the pass, with the rounded predecessors
 * active; rounding; then the mean of each channel is moved back to what it was in the source model, at the end of the sum
 * in which the layer stands, so that what a residual branch has lost is taken back, too. The model itself stays as it is.
 */
export async function roundSequentially(request: SequentialRequest): Promise<Map<Node, SequentialResult>> {
  const { model, layers, samples, context } = request;
  const passes = layerPasses(model.graph, layers, PASSES_MAX);
  const targets = new Map(passes.flatMap((pass) => pass.layers.map((layer) => [layer, meanTensor(layer, pass.targetOf(layer)?.name)])));
  const original = await meanOutputs({ model, tensors: [...targets.values()], samples, context });
  const rounding = new SequentialRounding(request);
  const results = new Map<Node, SequentialResult>();
  for (const [index, pass] of passes.entries()) {
    for (const [node, result] of await rounding.round(pass.layers)) results.set(node, result);
    const tensors = pass.layers.flatMap((layer) => targets.get(layer) ?? []);
    const means = await meanOutputs({ model: rounding.copy.model, tensors, samples, context });
    for (const layer of pass.layers) {
      const { name = '' } = targets.get(layer) ?? {};
      const biasShift = difference(original.get(name), means.get(name));
      const result = results.get(layer.node);
      if (biasShift && result && rounding.copy.shiftBias(layer, biasShift)) results.set(layer.node, { ...result, biasShift });
    }
    context.progress((index + 1) / passes.length, `rounded ${results.size} of ${layers.length} layers`);
  }
  return results;
}

const isDense = ({ opType }: Node): boolean => opType === 'MatMul' || opType === 'Gemm';

function meanTensor({ node, layout }: SequentialLayer, name = ''): MeanTensor {
  return { name, channels: channelCount(layout), axis: node.opType === 'MatMul' ? 'last' : 'second' };
}

function difference(before: Float64Array | undefined, after: Float64Array | undefined): Float64Array | undefined {
  return before && after?.map((value, channel) => (before[channel] ?? 0) - value);
}

/** Rounds in the network whose earlier layers are rounded already. */
class SequentialRounding {
  readonly copy: RoundedCopy;

  constructor(private readonly request: SequentialRequest) {
    this.copy = new RoundedCopy(request.model);
  }

  async round(layers: readonly SequentialLayer[]): Promise<Map<Node, SequentialResult>> {
    const { samples, context } = this.request;
    const { model } = this.copy;
    const grams = await gramMatrices({ model, layers: layers.flatMap((layer) => this.gramLayer(layer)), samples, context });
    const results = new Map<Node, SequentialResult>();
    for (const layer of layers) {
      context.signal.throwIfAborted();
      results.set(layer.node, this.roundOne(layer, grams.get(layer.weight.value.name)));
    }
    return results;
  }

  private gramLayer({ node, weight, layout }: SequentialLayer) {
    const activation = node.inputs[0]?.name;
    if (activation === undefined) return [];
    const rows = { activation, depth: channelDepth(layout), key: weight.value.name };
    return [isDense(node) ? rows : { ...rows, window: convolutionWindow(node, weight.tensor.dims) }];
  }

  private roundOne(layer: SequentialLayer, gram: GramMatrix | undefined): SequentialResult {
    const { weight, layout, bits } = layer;
    const rows = toRows(float32Values(weight.tensor), layout);
    const [channels, depth] = [channelCount(layout), channelDepth(layout)];
    const rounded = roundLayer({ rows, channels, depth, bits }, this.request.algorithm, gram);
    const values = this.copy.setCodes(layer, rounded);
    return gram ? { ...rounded, sqnr: productSqnr(rows, values, gram) } : rounded;
  }
}

/** With H = X^T X: 10 log10(sum w^T H w / sum d^T H d) over all channels, d = rounded - original. */
function productSqnr(rows: Float64Array, rounded: Float64Array, { gram, groups, depth }: GramMatrix): number {
  const errors = rounded.map((value, at) => value - (rows[at] ?? 0));
  const perGroup = rows.length / groups;
  let [signal, noise] = [0, 0];
  for (let start = 0; start < rows.length; start += depth) {
    const group = Math.floor(start / perGroup);
    const hessian = gram.subarray(group * depth ** 2, (group + 1) * depth ** 2);
    signal += quadraticForm(hessian, rows, depth, start);
    noise += quadraticForm(hessian, errors, depth, start);
  }
  return 10 * Math.log10(signal / noise);
}
