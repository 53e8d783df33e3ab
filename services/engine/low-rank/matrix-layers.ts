/** The layers that can be factorised: MatMul, Gemm and Conv with constant weights, each seen as a matrix with one row per output. */
import { float32Values, intAttribute, type Model, type Node } from '../ir/index.js';
import { graphsWithin } from '../ir/traversal.js';
import { hasShiftableBias } from '../layers/bias-shift.js';
import { type ChannelLayout, channelLayout, matrixLayout, toRows } from '../layers/channel-layout.js';
import { type ConvLayer, convLayer } from '../layers/conv-layers.js';
import { type DenseLayer, denseLayer } from '../layers/dense-layers.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { reportName, type WeightStore } from '../layers/weight-store.js';

/** Each output is the sum over `inputs` channels and the positions of the `kernel` of a window. */
export interface MatrixLayer {
  readonly name: string;
  readonly source: DenseLayer | ConvLayer;
  /** Input channels. */
  readonly inputs: number;
  /** Sizes of the window; none for a product. */
  readonly kernel: readonly number[];
  /** Output channels. */
  readonly channels: number;
  /** Inputs per output: `inputs` times the positions of the kernel. */
  readonly depth: number;
  /** True when a constant can be added to each channel without a further node. */
  readonly hasRoomForBias: boolean;
}

export interface LayerSearch {
  readonly layers: readonly MatrixLayer[];
  /** Nodes that were looked at and are left, with the reason. */
  readonly left: ReadonlyMap<Node, string>;
}

const operators: ReadonlySet<string> = new Set(['MatMul', 'Gemm', 'Conv']);

/** Layers of all graphs of `model`, in order. */
export function findLayers(model: Model, store: WeightStore, exclude: readonly string[]): LayerSearch {
  const isExcluded = nameMatcher(exclude);
  const layers: MatrixLayer[] = [];
  const left = new Map<Node, string>();
  for (const graph of graphsWithin(model.graph)) {
    for (const node of graph.nodes) {
      if (node.domain !== '' || !operators.has(node.opType)) continue;
      const found = isExcluded(reportName(node)) ? { reason: 'excluded by the recipe' } : matrixLayer(node, store);
      if ('reason' in found) left.set(node, found.reason);
      else layers.push(found);
    }
  }
  return { layers, left };
}

function matrixLayer(node: Node, store: WeightStore): MatrixLayer | { readonly reason: string } {
  const source = node.opType === 'Conv' ? convLayer(node, store) : denseLayer(node, store);
  if ('reason' in source) return source;
  const { weight, channels, depth } = source;
  if (weight.value.uses.length > 1) return { reason: `its weight "${weight.value.name}" is read by other nodes, too` };
  if (store.isGraphOutput(weight.value)) return { reason: `its weight "${weight.value.name}" is an output of the model` };
  const base = { name: reportName(node), source, channels, depth, hasRoomForBias: hasShiftableBias(store, node, channels) };
  if (source.kind === 'dense') {
    if (intAttribute(node, 'transA', 0) === 1) return { reason: 'its activation is transposed (transA)' };
    return { ...base, inputs: depth, kernel: [] };
  }
  const [, inputs = 0, ...kernel] = weight.tensor.dims;
  if (source.group !== 1) return { reason: `a convolution in ${source.group} groups is not factorised` };
  if (kernel.length > 2) return { reason: 'convolutions over three and more axes are not factorised' };
  return { ...base, inputs, kernel };
}

/** [channels, depth]: the weights of each output in the order of the flattened window. */
export function weightRows(layer: MatrixLayer): Float64Array {
  return toRows(float32Values(layer.source.weight.tensor), weightLayout(layer));
}

export function weightLayout({ source }: MatrixLayer): ChannelLayout {
  const { dims } = source.weight.tensor;
  return source.kind === 'conv' ? channelLayout(source.node, dims) : matrixLayout(source.reductionAxis, dims);
}

/** The constant bias of the layer, one value per channel, as it is added to the product. */
export function addedBias({ source, channels }: MatrixLayer): Float64Array {
  const [constant, factor] = source.kind === 'conv' ? [source.bias, 1] : [source.bias?.vector, source.bias?.factor ?? 1];
  if (!constant) return new Float64Array(channels);
  const values = float32Values(constant.tensor);
  return Float64Array.from({ length: channels }, (_, at) => factor * (values[values.length === 1 ? 0 : at] ?? 0));
}
