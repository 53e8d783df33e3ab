/** Rounds convolutions one after the other on what their inputs are in the network that is already rounded before them. */
import { cloneModel } from '../../ir/clone-model.js';
import { float32Tensor, float32Values, type Model, type Node } from '../../ir/index.js';
import { shiftBias } from '../../layers/bias-shift.js';
import { type ChannelLayout, channelCount, channelDepth, fromRows, toRows } from '../../layers/channel-layout.js';
import { layerPasses } from '../../layers/layer-passes.js';
import { type Constant, WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, RunSource } from '../../method.js';
import { convolutionWindow, type GramMatrix, gramMatrices } from '../../normal-equations/gram-matrices.js';
import { quadraticForm } from '../../normal-equations/linear-algebra.js';
import { type MeanTensor, meanOutputs } from '../../normal-equations/mean-outputs.js';
import { type RoundedLayer, type RoundingAlgorithm, roundLayer } from './layer-rounding.js';
import type { StoredBits } from './stored-weight.js';

/** A convolution of the main graph. */
export interface SequentialLayer {
  readonly node: Node;
  readonly weight: Constant;
  readonly layout: ChannelLayout;
  readonly bits: StoredBits;
}

export interface SequentialResult extends RoundedLayer {
  /** To be added to the bias of each channel; absent where no bias can be changed. */
  readonly biasShift?: Float64Array;
  /** 10 log10(sum y^2 / sum (y - y')^2) of the product of weight and inputs; absent when its inputs were not seen. */
  readonly sqnr?: number;
}

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
  const copy = new RoundedCopy(request);
  const results = new Map<Node, SequentialResult>();
  for (const [index, pass] of passes.entries()) {
    for (const [node, result] of await copy.round(pass.layers)) results.set(node, result);
    const tensors = pass.layers.flatMap((layer) => targets.get(layer) ?? []);
    const means = await meanOutputs({ model: copy.model, tensors, samples, context });
    for (const layer of pass.layers) {
      const { name = '' } = targets.get(layer) ?? {};
      const biasShift = difference(original.get(name), means.get(name));
      const result = results.get(layer.node);
      if (biasShift && result && copy.correct(layer, biasShift)) results.set(layer.node, { ...result, biasShift });
    }
    context.progress((index + 1) / passes.length, `rounded ${results.size} of ${layers.length} convolutions`);
  }
  return results;
}

function meanTensor({ layout }: SequentialLayer, name = ''): MeanTensor {
  return { name, channels: channelCount(layout), axis: 'second' };
}

function difference(before: Float64Array | undefined, after: Float64Array | undefined): Float64Array | undefined {
  return before && after?.map((value, channel) => (before[channel] ?? 0) - value);
}

/** The network as it will be: a copy with the rounded weights as floats in their places. */
class RoundedCopy {
  readonly model: Model;
  private readonly store: WeightStore;
  private readonly twins = new Map<Node, Node>();

  constructor(private readonly request: SequentialRequest) {
    this.model = cloneModel(request.model);
    this.store = new WeightStore(this.model);
    for (const [at, node] of request.model.graph.nodes.entries()) {
      const twin = this.model.graph.nodes[at];
      if (twin) this.twins.set(node, twin);
    }
  }

  async round(layers: readonly SequentialLayer[]): Promise<Map<Node, SequentialResult>> {
    const { samples, context } = this.request;
    const grams = await gramMatrices({ model: this.model, layers: layers.flatMap((layer) => this.gramLayer(layer)), samples, context });
    const results = new Map<Node, SequentialResult>();
    for (const layer of layers) {
      context.signal.throwIfAborted();
      results.set(layer.node, this.roundOne(layer, grams.get(layer.weight.value.name)));
    }
    return results;
  }

  private gramLayer({ node, weight, layout }: SequentialLayer) {
    const activation = node.inputs[0]?.name;
    const window = convolutionWindow(node, weight.tensor.dims);
    return activation === undefined ? [] : [{ activation, depth: channelDepth(layout), window, key: weight.value.name }];
  }

  private roundOne({ node, weight, layout, bits }: SequentialLayer, gram: GramMatrix | undefined): SequentialResult {
    const rows = toRows(float32Values(weight.tensor), layout);
    const [channels, depth] = [channelCount(layout), channelDepth(layout)];
    const rounded = roundLayer({ rows, channels, depth, bits }, this.request.algorithm, gram);
    const scaleOf = (at: number): number => rounded.scales[Math.floor(at / depth)] ?? 1;
    const values = Float64Array.from(rounded.codes, (code, at) => code * scaleOf(at));
    this.replaceWeight(node, fromRows(values, layout, Float32Array), weight.tensor.dims);
    return gram ? { ...rounded, sqnr: productSqnr(rows, values, gram) } : rounded;
  }

  private replaceWeight(node: Node, values: Float32Array, dims: readonly number[]): void {
    const old = this.store.constant(this.twins.get(node)?.inputs[1]);
    if (!old) return;
    const { value } = this.store.add(old, '_rounded', float32Tensor(dims, values));
    for (const use of old.value.uses) use.node.setInput(use.index, value);
    this.store.dropIfUnread(old);
  }

  correct({ node }: SequentialLayer, shift: Float64Array): boolean {
    const twin = this.twins.get(node);
    return twin ? shiftBias(this.store, twin, shift) : false;
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
