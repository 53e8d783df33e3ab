/** Gradients of fake quantization: a QuantizeLinear whose integers are read by DequantizeLinear nodes of the same scale. */
import {
  attributeOf,
  type DataType,
  dataTypeFromCode,
  dataTypes,
  elementCount,
  float32Values,
  intAttribute,
  type Node,
  type Tensor,
  type Value,
} from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { noGradient } from '../no-gradient.js';
import { channelSums } from '../sums.js';

function isSameScale(step: BackwardStep, left: Value | null | undefined, right: Value | null | undefined): boolean {
  if (left === right) return true;
  const [a, b] = [step.constant(left), step.constant(right)];
  return a !== undefined && b !== undefined && a.dims.join() === b.dims.join() && areEqual(a, b);
}

function areEqual(left: Tensor, right: Tensor): boolean {
  const values = float32Values(right);
  return float32Values(left).every((each, at) => each === values[at]);
}

/** The sum of a value in the shape of x over the elements that share a scale, in the shape of the scale. */
function sumPerScale(step: BackwardStep, value: Value, dims: readonly number[]): Value {
  const { write, node } = step;
  const scale = step.shape(node.inputs[1]);
  const axis = scaledAxis(step, dims);
  if (axis === null) {
    const total = write.node('ReduceSum', [value], { keepdims: attributeOf.int(0) });
    return scale.length === 0 ? total : write.node('Reshape', [total, write.ints(scale)]);
  }
  const size = (from: number, to?: number): number => elementCount(dims.slice(from, to));
  const stacked = [size(0, axis), dims[axis] ?? 1, size(axis + 1)];
  return channelSums(write, write.node('Reshape', [value, write.ints(stacked)]), stacked);
}

/** The axis along which each index has its own scale; null with one scale for all. */
function scaledAxis(step: BackwardStep, dims: readonly number[]): number | null {
  const { node } = step;
  const scale = step.shape(node.inputs[1]);
  if (intAttribute(node, 'block_size', 0) !== 0 || scale.length > 1) throw noGradient(node, 'with one scale per block');
  if (elementCount(scale) === 1) return null;
  const axis = intAttribute(node, 'axis', 1);
  return axis < 0 ? axis + dims.length : axis;
}

/** A value with one number per scale, so that it is broadcast along the scaled axis of x. */
function alongAxis(step: BackwardStep, value: Value, dims: readonly number[]): Value {
  const axis = scaledAxis(step, dims);
  const shape = axis === null ? [] : dims.slice(axis).map((size, at) => (at === 0 ? size : 1));
  return step.write.node('Reshape', [value, step.write.ints(shape)]);
}

function integerType(step: BackwardStep): DataType {
  const { node } = step;
  const zeroPoint = node.inputs[2];
  const declared = zeroPoint?.type?.kind === 'tensor' ? zeroPoint.type.dataType : null;
  const named = dataTypeFromCode(intAttribute(node, 'output_dtype', 0));
  return step.constant(zeroPoint)?.dataType ?? declared ?? (zeroPoint ? null : named) ?? 'uint8';
}

/** Least and greatest integer of a type. */
function integerRange(node: Node, type: DataType): readonly [number, number] {
  const [, sign, bits] = /^(u?)int(\d+)$/.exec(type) ?? [];
  if (bits === undefined) throw noGradient(node, `to ${type}`);
  return sign === 'u' ? [0, 2 ** Number(bits) - 1] : [-(2 ** (Number(bits) - 1)), 2 ** (Number(bits) - 1) - 1];
}

/** Least and greatest x that are not clipped: (n - z) s and (p - z) s. */
function unclipped(step: BackwardStep, dims: readonly number[]): readonly [Value, Value] {
  const { node, write } = step;
  const [, scale, zeroPoint] = node.inputs;
  const zero = zeroPoint && write.node('Cast', [zeroPoint], { to: attributeOf.int(dataTypes.float32.code) });
  const [low, high] = integerRange(node, integerType(step)).map((integer) => {
    const above = zero ? write.node('Sub', [write.float(integer), zero]) : write.float(integer);
    return alongAxis(step, write.node('Mul', [above, scale as Value]), dims);
  });
  return [low as Value, high as Value];
}

/** What the DequantizeLinear nodes that read the integers make of them. */
function dequantized(node: Node): Value | undefined {
  const readers = node.outputs[0]?.uses ?? [];
  return readers.find(({ node, index }) => node.opType === 'DequantizeLinear' && index === 0)?.node.outputs[0] ?? undefined;
}

/**
 * y = s (clip(round(x / s) + z, n, p) - z), rounding taken for the identity (straight-through estimator, Bengio et al.
 * 2013): dL/dx = g inside the range, 0 where x is clipped. With learned step size (LSQ, Esser et al. 2020)
 *   dL/ds = sum g (round(v) - v inside, n - z below, p - z above) = sum g (y - x [inside]) / s,   v = x / s.
 * The gradient of the integers is that of the y they stand for, and both are written here, where x is known. The factor
 * 1 / sqrt(count p) of LSQ belongs to the learning rate of s.
 */
const quantizeLinear: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [x, scale] = node.inputs;
  const y = dequantized(node);
  if (!gradient || !x || !scale || !y) return [];
  const dims = step.shape(x);
  const [low, high] = unclipped(step, dims);
  const clipped = write.node('Min', [write.node('Max', [x, low]), high]);
  const isInside = write.node('Cast', [write.node('Equal', [x, clipped])], { to: attributeOf.int(dataTypes.float32.code) });
  const dx = write.node('Mul', [gradient, isInside]);
  if (!step.wants(1)) return [dx];
  const moved = write.node('Sub', [write.node('Mul', [gradient, y]), write.node('Mul', [dx, x])]);
  return [dx, write.node('Div', [sumPerScale(step, moved, dims), scale])];
};

/** Of integers that are constant, y = s (q - z) has dL/ds = sum g (q - z) = sum g y / s. */
const dequantizeLinear: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [integers, scale] = node.inputs;
  const [y] = node.outputs;
  if (!gradient || !integers || !scale || !y) return [];
  if (step.wants(0)) {
    const source = integers.producer;
    if (source?.opType !== 'QuantizeLinear') throw noGradient(node, 'by integers that no QuantizeLinear made');
    if (!isSameScale(step, source.inputs[1], scale)) throw noGradient(node, 'behind a QuantizeLinear of another scale');
    return [gradient];
  }
  const total = sumPerScale(step, write.node('Mul', [gradient, y]), step.shape(y));
  return [null, write.node('Div', [total, scale])];
};

export const quantizationRules = { QuantizeLinear: quantizeLinear, DequantizeLinear: dequantizeLinear } as const satisfies Record<
  string,
  GradientRule
>;
