/** Recognises MatMul and Gemm nodes with a constant weight, and says of the others why they are left alone. */
import { elementCount, float32Values, floatAttribute, intAttribute, intsAttribute, type Node, type Value } from '../ir/index.js';
import { allFinite } from './finite-values.js';
import type { Constant, WeightStore } from './weight-store.js';

/** y = alpha * x W (+ bias): one node, or a MatMul and the Add behind it. */
export interface DenseLayer {
  readonly kind: 'dense';
  readonly node: Node;
  readonly activation: Value;
  /** Rank 2. */
  readonly weight: Constant;
  /** Axis of the weight that the product sums over. */
  readonly reductionAxis: 0 | 1;
  /** Inputs per output. */
  readonly depth: number;
  /** Output channels. */
  readonly channels: number;
  readonly alpha: number;
  readonly bias: Bias | null;
  /** Why the integer kernel cannot do this layer; storing the weight in int8 is possible all the same. */
  readonly integerObstacle: string | null;
}

export interface Bias {
  readonly value: Value;
  /** The constant when it is a vector of one element per channel, or one for all. */
  readonly vector: Constant | null;
  readonly factor: number;
  /** The Add behind a MatMul that adds it; null for the C of a Gemm. */
  readonly add: Node | null;
}

/** The layer that `node` (MatMul or Gemm) is, or the reason why it is left. */
export function denseLayer(node: Node, store: WeightStore): DenseLayer | { readonly reason: string } {
  const [left, right] = node.inputs;
  if (!left || !right) return { reason: 'an input is missing' };
  const source = weightSource(right, store);
  if (!source) return { reason: reasonWithoutWeight(left, right, store) };
  const { weight } = source;
  const obstacle = weightObstacle(weight);
  if (obstacle) return { reason: obstacle };
  const isGemm = node.opType === 'Gemm';
  const transposed = source.isTransposed !== (isGemm && intAttribute(node, 'transB', 0) === 1);
  const [rows = 0, columns = 0] = weight.tensor.dims;
  const channels = transposed ? rows : columns;
  const shape = { depth: transposed ? columns : rows, channels };
  const base = { kind: 'dense', node, activation: left, weight, reductionAxis: transposed ? 1 : 0, ...shape } as const;
  if (isGemm) return { ...base, alpha: floatAttribute(node, 'alpha', 1), ...gemmBias(node, channels, store) };
  return { ...base, alpha: 1, bias: addedBias(node, channels, store), integerObstacle: null };
}

/** The constant that `value` is, directly or through a Transpose of its two axes (weights tied to an embedding table). */
function weightSource(value: Value, store: WeightStore): { weight: Constant; isTransposed: boolean } | undefined {
  const direct = store.constant(value);
  if (direct) return { weight: direct, isTransposed: false };
  const { producer } = value;
  if (producer?.opType !== 'Transpose' || producer.domain !== '') return undefined;
  const behind = store.constant(producer.inputs[0]);
  if (behind?.tensor.dims.length !== 2) return undefined;
  const order = intsAttribute(producer, 'perm', [1, 0]);
  return order[0] === 1 ? { weight: behind, isTransposed: true } : { weight: behind, isTransposed: false };
}

function reasonWithoutWeight(left: Value, right: Value, store: WeightStore): string {
  if (store.constant(left)) return 'the constant is on the left side; the integer kernel takes weights on the right side only';
  const producer = right.producer?.opType;
  if (producer === 'DequantizeLinear') return 'its weight is already quantized';
  return 'a product of two activations stays float32';
}

function weightObstacle({ tensor, value }: Constant): string | undefined {
  if (tensor.dataType !== 'float32') return `its weight "${value.name}" is ${tensor.dataType}, not float32`;
  if (tensor.dims.length !== 2) {
    return `its weight "${value.name}" has ${tensor.dims.length} axes; the integer kernel takes one matrix of weights`;
  }
  if (elementCount(tensor.dims) === 0) return `its weight "${value.name}" is empty`;
  return allFinite(float32Values(tensor)) ? undefined : `its weight "${value.name}" holds values that are not finite numbers`;
}

function gemmBias(node: Node, channels: number, store: WeightStore): Pick<DenseLayer, 'bias' | 'integerObstacle'> {
  const integerObstacle = intAttribute(node, 'transA', 0) === 1 ? 'its activation is transposed (transA)' : null;
  const value = node.inputs[2] ?? null;
  if (!value) return { bias: null, integerObstacle };
  const factor = floatAttribute(node, 'beta', 1);
  const vector = biasVector(value, channels, store);
  if (!vector && factor !== 1)
    return { bias: null, integerObstacle: integerObstacle ?? 'its bias is not a constant vector and beta is not 1' };
  return { bias: { value, vector, factor, add: null }, integerObstacle };
}

/** The Add of a constant vector behind a MatMul, when nothing else sees the product. */
function addedBias(node: Node, channels: number, store: WeightStore): Bias | null {
  const [product] = node.outputs;
  if (!product || store.isGraphOutput(product) || product.uses.length !== 1) return null;
  const [use] = product.uses;
  if (use?.node.opType !== 'Add' || use.node.domain !== '' || use.node.graph !== node.graph) return null;
  const value = use.node.inputs[1 - use.index] ?? null;
  const vector = value && biasVector(value, channels, store);
  if (!value || !vector || vector.tensor.dims.length !== 1) return null;
  return { value, vector, factor: 1, add: use.node };
}

function biasVector(value: Value, channels: number, store: WeightStore): Constant | null {
  const constant = store.constant(value);
  if (constant?.tensor.dataType !== 'float32') return null;
  const { dims } = constant.tensor;
  const isRow = dims.length <= 1 || (dims.length === 2 && dims[0] === 1);
  const count = elementCount(dims);
  return isRow && (count === channels || count === 1) ? constant : null;
}
