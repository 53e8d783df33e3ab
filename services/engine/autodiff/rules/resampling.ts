/** Gradients of operators that change the resolution of a map. */
import {
  attributeOf,
  float32Tensor,
  float32Values,
  intAttribute,
  intsAttribute,
  type Node,
  stringAttribute,
  type Value,
} from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../unknown-operand.js';

/** DCR is undone by SpaceToDepth; CRD [N, C, r, r, H, W] as [N, C, H, r, W, r] is turned back by hand. */
const depthToSpace: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const block = intAttribute(node, 'blocksize', 1);
  if (stringAttribute(node, 'mode', 'DCR') === 'DCR')
    return [write.node('SpaceToDepth', [gradient], { blocksize: attributeOf.int(block) })];
  const dims = step.shape(node.inputs[0]);
  const [batch = 1, channels = 1, height = 1, width = 1] = dims;
  const split = write.node('Reshape', [gradient, write.ints([batch, channels / block ** 2, height, block, width, block])]);
  const moved = write.node('Transpose', [split], { perm: attributeOf.ints([0, 1, 3, 5, 2, 4]) });
  return [write.node('Reshape', [moved, write.ints(dims)])];
};

const spaceToDepth: GradientRule = ({ node, gradients: [gradient], write }) =>
  gradient ? [write.node('DepthToSpace', [gradient], { blocksize: attributeOf.int(intAttribute(node, 'blocksize', 1)) })] : [];

/** Axes whose size changes. */
function resizedAxes(from: readonly number[], to: readonly number[]): number[] {
  return from.flatMap((size, axis) => (size === to[axis] ? [] : [axis]));
}

/** Nearest neighbours at a whole factor f are y[i] = x[floor(i / f)] in these coordinates: each x is copied f times. */
function isRepetition(node: Node, from: readonly number[], to: readonly number[]): boolean {
  const coordinates = stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel');
  const rounding = stringAttribute(node, 'nearest_mode', 'round_prefer_floor');
  const floors =
    (coordinates === 'asymmetric' && rounding === 'floor') || (coordinates === 'half_pixel' && rounding.startsWith('round_prefer'));
  return (
    stringAttribute(node, 'mode', 'nearest') === 'nearest' && floors && from.every((size, axis) => Number.isInteger((to[axis] ?? 0) / size))
  );
}

/** Resize is linear and separable: y = R x along each axis, so x' = R^T g. */
const resize: GradientRule = (step) => {
  const { node } = step;
  let [gradient] = step.gradients;
  if (!gradient) return [];
  const from = step.shape(node.inputs[0]);
  const to = step.shape(node.outputs[0]);
  if (stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize') throw unknownOperand(node, 'regions');
  if (isRepetition(node, from, to)) return [repetitionSums(step, gradient, from, to)];
  for (const axis of resizedAxes(from, to)) gradient = alongAxis(step, gradient, axis, from);
  return [gradient];
};

function repetitionSums({ write }: BackwardStep, gradient: Value, from: readonly number[], to: readonly number[]): Value {
  const split = write.node('Reshape', [gradient, write.ints(from.flatMap((size, axis) => [size, (to[axis] ?? 0) / size]))]);
  return write.node('ReduceSum', [split, write.ints(from.map((_, axis) => 2 * axis + 1))], { keepdims: attributeOf.int(0) });
}

/** g R along `axis`, which is moved to the end and back. */
function alongAxis(step: BackwardStep, gradient: Value, axis: number, from: readonly number[]): Value {
  const { write } = step;
  const rank = from.length;
  const matrix = resizeMatrix(step, axis, from);
  if (axis === rank - 1) return write.node('MatMul', [gradient, matrix]);
  const order = [...Array.from({ length: rank }, (_, at) => at).filter((at) => at !== axis), axis];
  const moved = write.node('Transpose', [gradient], { perm: attributeOf.ints(order) });
  const product = write.node('MatMul', [moved, matrix]);
  return write.node('Transpose', [product], { perm: attributeOf.ints(order.map((_, at) => order.indexOf(at))) });
}

/** R [to, from] is what the runtime makes of the identity matrix, resized along one axis with the same attributes. */
function resizeMatrix(step: BackwardStep, axis: number, from: readonly number[]): Value {
  const { node, write } = step;
  const size = from[axis] ?? 1;
  const identity = new Float32Array(size * size);
  for (let at = 0; at < size; at++) identity[at * size + at] = 1;
  const eye = write.constant(float32Tensor([1, 1, size, size], identity));
  const target = step.shape(node.outputs[0])[axis] ?? 1;
  const scale = givenScale(step, axis);
  const operands = scale === undefined ? [null, write.ints([1, 1, target, size])] : [write.constant(float32Tensor([4], [1, 1, scale, 1]))];
  const attributes = new Map(node.attributes);
  for (const name of ['axes', 'keep_aspect_ratio_policy', 'extrapolation_value']) attributes.delete(name);
  const resized = write.node('Resize', [eye, null, ...operands], Object.fromEntries(attributes));
  return write.node('Reshape', [resized, write.ints([target, size])]);
}

/** The exact scale decides the coordinates; undefined when the node gives sizes. */
function givenScale(step: BackwardStep, axis: number): number | undefined {
  const { node } = step;
  if (node.inputs[3] || !node.inputs[2]) return undefined;
  const scales = step.constant(node.inputs[2]);
  if (!scales) throw unknownOperand(node, 'scales');
  const axes = intsAttribute(node, 'axes', undefined);
  return float32Values(scales)[axes ? axes.indexOf(axis) : axis];
}

export const resamplingRules = {
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  Resize: resize,
} as const satisfies Record<string, GradientRule>;
