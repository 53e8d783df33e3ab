/** A constant weight as a matrix over the rows that it is multiplied with, and where those rows come from. */
import { elementCount, intAttribute, type Node, type Tensor } from '../ir/index.js';
import { type ChannelLayout, channelDepth, channelLayout, matrixLayout } from '../layers/channel-layout.js';
import { convolutionWindow, type RowLayer } from './layer-rows.js';

export interface WeightRows {
  readonly rows: RowLayer;
  /** The weight as [outputs, K]; outputs of one group follow each other. */
  readonly layout: ChannelLayout;
  /** Groups of outputs that see different rows. */
  readonly groups: number;
  /** Axis of the weight along which its inputs lie; within a convolution's group. */
  readonly inputAxis: number;
}

/**
 * Input `index` of a Conv, ConvTranspose, MatMul, Gemm or recurrent node with these weights; null where the weight is not multiplied
 * from the right, or the rows are no value of the graph.
 */
export function weightRows(node: Node, index: number, { dims }: Tensor): WeightRows | null {
  const [activation] = node.inputs;
  if (!activation || node.domain !== '') return null;
  switch (node.opType) {
    case 'Conv':
    case 'ConvTranspose': {
      if (index !== 1 || dims.length < 3) return null;
      const layout = channelLayout(node, dims);
      const window = convolutionWindow(node, dims);
      const inputAxis = node.opType === 'Conv' ? 1 : 0;
      return { rows: { activation: activation.name, depth: channelDepth(layout), window }, layout, groups: window.group, inputAxis };
    }
    case 'MatMul':
    case 'Gemm': {
      if (index !== 1 || dims.length !== 2 || intAttribute(node, 'transA', 0) === 1) return null;
      const inputAxis = node.opType === 'Gemm' && intAttribute(node, 'transB', 0) === 1 ? 1 : 0;
      const layout = matrixLayout(inputAxis, dims);
      return { rows: { activation: activation.name, depth: channelDepth(layout) }, layout, groups: 1, inputAxis };
    }
    case 'LSTM':
    case 'GRU':
    case 'RNN':
      return dims.length === 3 && elementCount(dims) > 0 ? recurrentRows(node, index, dims) : null;
    default:
      return null;
  }
}

/** W [d, gates * H, I] sees the inputs, R [d, gates * H, H] the states of its direction. */
function recurrentRows(node: Node, index: number, dims: readonly number[]): WeightRows | null {
  const [activation] = node.inputs;
  const [states] = node.outputs;
  const [directions = 1, , depth = 1] = dims;
  const layout = channelLayout(node, dims);
  if (index === 1 && activation) return { rows: { activation: activation.name, depth }, layout, groups: 1, inputAxis: 2 };
  if (index !== 2 || !states) return null;
  const batchFirst = intAttribute(node, 'layout', 0) === 1;
  const rows = { activation: states.name, depth, states: { directions, batchFirst } };
  return { rows, layout, groups: directions, inputAxis: 2 };
}
