/** Recognises the layers whose weights can be stored in few bits, and says of the others why they are left. */
import { elementCount, float32Values, type Node } from '../../ir/index.js';
import { allFinite } from '../../layers/finite-values.js';
import { type Constant, reportName, type WeightStore } from '../../layers/weight-store.js';

export interface StoredLayer {
  readonly node: Node;
  readonly kind: 'convolution' | 'recurrent';
  /** One of a convolution; W and R of a recurrent layer. */
  readonly weights: readonly Constant[];
}

/** Inputs that are weights, by operator; all operators that this method changes. */
const weightInputs: Readonly<Record<string, { readonly kind: StoredLayer['kind']; readonly inputs: readonly number[] }>> = {
  Conv: { kind: 'convolution', inputs: [1] },
  ConvTranspose: { kind: 'convolution', inputs: [1] },
  LSTM: { kind: 'recurrent', inputs: [1, 2] },
  GRU: { kind: 'recurrent', inputs: [1, 2] },
  RNN: { kind: 'recurrent', inputs: [1, 2] },
};

/** The layer that `node` is, why it is left, or null when it is no such layer. */
export function storedLayer(node: Node, store: WeightStore): StoredLayer | { readonly reason: string } | null {
  const form = node.domain === '' ? weightInputs[node.opType] : undefined;
  if (!form) return null;
  const weights: Constant[] = [];
  for (const index of form.inputs) {
    const constant = store.constant(node.inputs[index]);
    if (!constant) return { reason: obstacleOf(node, index) };
    const obstacle = weightObstacle(constant, node, index, store);
    if (obstacle) return { reason: obstacle };
    weights.push(constant);
  }
  return { node, kind: form.kind, weights };
}

function obstacleOf(node: Node, index: number): string {
  const producer = node.inputs[index]?.producer;
  return producer?.opType === 'DequantizeLinear' ? 'its weight is already quantized' : 'its weight is not constant';
}

function weightObstacle({ tensor, value }: Constant, node: Node, index: number, store: WeightStore): string | undefined {
  if (tensor.dataType !== 'float32') return `its weight "${value.name}" is ${tensor.dataType}, not float32`;
  if (tensor.dims.length < 3 || elementCount(tensor.dims) === 0) return `its weight "${value.name}" has shape [${tensor.dims}]`;
  if (!allFinite(float32Values(tensor))) return `its weight "${value.name}" holds values that are not finite numbers`;
  if (store.isGraphOutput(value)) return `its weight "${value.name}" is also an output of the graph`;
  const stranger = value.uses.find((use) => use.node.opType !== node.opType || use.index !== index);
  return stranger ? `its weight is also needed in float32 by ${stranger.node.opType} ${reportName(stranger.node)}` : undefined;
}
