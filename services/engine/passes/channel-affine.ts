/** y = x * scale + shift per channel: read from BatchNormalization, Mul, Add, Sub and Div, folded into weights. */
import { attributeOf, elementCount, floatAttribute, intAttribute, type Node, type Tensor, type Value } from '../ir/index.js';
import { floatTensor, floatValues } from './numeric-tensor.js';
import type { PassScope } from './pass.js';

export interface ChannelAffine {
  readonly scale: Float64Array;
  readonly shift: Float64Array;
  /** The operand that is not the constant. */
  readonly data: Value;
}

/**
 * Inference-time BatchNormalization (Ioffe and Szegedy 2015, algorithm 1 with fixed statistics):
 * scale = gamma / sqrt(variance + epsilon), shift = beta - mean * scale.
 */
export function batchNormalizationAffine(node: Node, scope: PassScope): ChannelAffine | undefined {
  const [data] = node.inputs;
  if (node.opType !== 'BatchNormalization' || node.domain !== '' || !data) return undefined;
  if (intAttribute(node, 'training_mode', 0) !== 0 || intAttribute(node, 'spatial', 1) === 0) return undefined;
  if (scope.opset < 7 && intAttribute(node, 'is_test', 0) !== 1) return undefined;
  if (node.outputs.slice(1).some((output) => output && scope.editor.isLive(output))) return undefined;
  const [gamma, beta, mean, variance] = node.inputs.slice(1, 5).map((input) => floatValues(scope.facts.constant(input)));
  if (!gamma || !beta || !mean || !variance) return undefined;
  const epsilon = floatAttribute(node, 'epsilon', 1e-5);
  const scale = Float64Array.from(gamma, (value, channel) => value / Math.sqrt((variance[channel] ?? 0) + epsilon));
  const shift = Float64Array.from(beta, (value, channel) => value - (mean[channel] ?? 0) * (scale[channel] ?? 0));
  return { data, scale, shift };
}

/** A constant that varies along axis 1 only, as one number per channel: shapes [], [1, C, 1, ..], [C, 1, ..] of the right rank. */
function perChannel(tensor: Tensor | undefined, channels: number, rank: number): Float64Array | undefined {
  const values = floatValues(tensor);
  if (!tensor || !values || tensor.dims.length > rank) return undefined;
  if (values.length === 1) return new Float64Array(channels).fill(values[0] ?? 0);
  const dims = [...Array<number>(rank - tensor.dims.length).fill(1), ...tensor.dims];
  const varies = dims.every((size, axis) => size === (axis === 1 ? channels : 1));
  return varies ? Float64Array.from(values) : undefined;
}

/** Mul, Add, Sub or Div of a value with a constant per channel. */
export function arithmeticAffine(node: Node, channels: number, scope: PassScope): ChannelAffine | undefined {
  const [left, right] = node.inputs;
  const rank = scope.facts.shape(node.outputs[0])?.length;
  if (node.domain !== '' || !left || !right || rank === undefined) return undefined;
  const isSecond = scope.facts.constant(right) !== undefined;
  const [data, constant] = isSecond ? [left, right] : [right, left];
  const operand = perChannel(scope.facts.constant(constant), channels, rank);
  if (!operand || scope.facts.shape(data)?.length !== rank) return undefined;
  const ones = new Float64Array(channels).fill(1);
  const zeros = new Float64Array(channels);
  if (node.opType === 'Add') return { data, scale: ones, shift: operand };
  if (node.opType === 'Mul') return { data, scale: operand, shift: zeros };
  if (node.opType === 'Sub') {
    return isSecond
      ? { data, scale: ones, shift: operand.map((value) => -value) }
      : { data, scale: ones.map((value) => -value), shift: operand };
  }
  if (node.opType === 'Div' && isSecond && operand.every((value) => value !== 0))
    return { data, scale: operand.map((value) => 1 / value), shift: zeros };
  return undefined;
}

/** The number of output channels of Conv, ConvTranspose and Gemm, and the channel of each element of the weight. */
function weightChannels(node: Node, dims: readonly number[]): { channels: number; channelOf: (index: number) => number } | undefined {
  const groups = intAttribute(node, 'group', 1);
  const [first = 1, second = 1] = dims;
  if (node.opType === 'Conv') {
    const perChannelCount = elementCount(dims.slice(1));
    return { channels: first, channelOf: (index) => Math.floor(index / perChannelCount) };
  }
  if (node.opType === 'ConvTranspose') {
    const taps = elementCount(dims.slice(2));
    const inputsPerGroup = first / groups;
    return {
      channels: second * groups,
      channelOf: (index) => Math.floor(Math.floor(index / (taps * second)) / inputsPerGroup) * second + (Math.floor(index / taps) % second),
    };
  }
  if (node.opType === 'Gemm' && dims.length === 2) {
    const isTransposed = intAttribute(node, 'transB', 0) !== 0;
    return { channels: isTransposed ? first : second, channelOf: (index) => (isTransposed ? Math.floor(index / second) : index % second) };
  }
  return undefined;
}

/** What a linear node needs to take an affine in: its weight and bias, stored and read by nobody else. */
export interface LinearWeights {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  readonly channels: number;
  readonly channelOf: (index: number) => number;
}

export function linearWeights(node: Node, scope: PassScope): LinearWeights | undefined {
  const weight = scope.editor.exclusiveConstant(node.inputs[1]);
  const layout = weight && weightChannels(node, weight.dims);
  if (!weight || !layout || !floatValues(weight)) return undefined;
  const { channels, channelOf } = layout;
  if (!node.inputs[2]) return { weight, bias: undefined, channels, channelOf };
  const bias = scope.facts.constant(node.inputs[2]);
  const isPerChannel = bias && elementCount(bias.dims) === channels && bias.dims.at(-1) === channels && bias.dataType === weight.dataType;
  return isPerChannel ? { weight, bias, channels, channelOf } : undefined;
}

/**
 * Conv, ConvTranspose and Gemm with y = a * (x W) + b * B, then y * s + t:
 * W'[.., c, ..] = W[.., c, ..] * s[c] and B'[c] = b * B[c] * s[c] + t[c]. Products in float64, rounded once.
 */
export function withAffineOutput(node: Node, weights: LinearWeights, affine: ChannelAffine, scope: PassScope): Node | undefined {
  const { weight, bias, channels, channelOf } = weights;
  const values = floatValues(weight);
  const biasValues = floatValues(bias);
  const [data, weightValue, biasValue] = node.inputs;
  if (!values || affine.scale.length !== channels || !weightValue) return undefined;
  const beta = node.opType === 'Gemm' ? floatAttribute(node, 'beta', 1) : 1;
  const scaled = Float64Array.from(values, (value, index) => value * (affine.scale[channelOf(index)] ?? 1));
  const shifted = Float64Array.from(
    affine.shift,
    (shift, channel) => beta * (biasValues?.[channel] ?? 0) * (affine.scale[channel] ?? 1) + shift,
  );
  const { editor } = scope;
  const newWeight = editor.addConstant(weightValue.name, floatTensor(weight.dataType, weight.dims, scaled), weightValue);
  const newBias = editor.addConstant(biasValue?.name ?? `${weightValue.name}_bias`, floatTensor(weight.dataType, [channels], shifted));
  const attributes = new Map(node.attributes);
  if (node.opType === 'Gemm') attributes.set('beta', attributeOf.float(1));
  return editor.copyWith(node, { inputs: [data ?? null, newWeight, newBias], attributes });
}
