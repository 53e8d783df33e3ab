/** Gradients of operators that change the resolution of a map. */
import {
  attributeOf,
  float32Tensor,
  float32Values,
  intAttribute,
  integerValues,
  intsAttribute,
  type Node,
  stringAttribute,
  type Value,
} from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../no-gradient.js';

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

/** The part of an axis that tf_crop_and_resize reads, as shares of its length. */
interface Region {
  readonly start: number;
  readonly end: number;
}

const crops = (node: Node): boolean => stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize';

/** Of an axis that `axes` leaves out all is read; other coordinates know no regions. */
function regionOf(step: BackwardStep, axis: number, rank: number): Region {
  const whole = { start: 0, end: 1 };
  if (!crops(step.node)) return whole;
  const roi = step.constant(step.node.inputs[1]);
  if (!roi) throw unknownOperand(step.node, 'regions');
  const at = placeOf(step.node, axis, rank);
  const values = float32Values(roi);
  return at < 0 ? whole : { start: values[at] ?? 0, end: values[values.length / 2 + at] ?? 1 };
}

/** Where scales, sizes and regions tell about `axis`; -1 where they do not. */
function placeOf(node: Node, axis: number, rank: number): number {
  const axes = intsAttribute(node, 'axes', undefined);
  return axes ? axes.findIndex((each) => (each < 0 ? each + rank : each) === axis) : axis;
}

/** Axes whose size changes or that are cropped. */
function resizedAxes(step: BackwardStep, from: readonly number[], to: readonly number[]): number[] {
  return from.flatMap((size, axis) => {
    const { start, end } = regionOf(step, axis, from.length);
    return size === to[axis] && start === 0 && end === 1 ? [] : [axis];
  });
}

/** Nearest neighbours at a whole factor f are y[i] = x[floor(i / f)] in these coordinates: each x is copied f times. */
function isRepetition(step: BackwardStep, from: readonly number[], to: readonly number[]): boolean {
  const { node } = step;
  const coordinates = stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel');
  const rounding = stringAttribute(node, 'nearest_mode', 'round_prefer_floor');
  const floors =
    (coordinates === 'asymmetric' && rounding === 'floor') || (coordinates === 'half_pixel' && rounding.startsWith('round_prefer'));
  return (
    stringAttribute(node, 'mode', 'nearest') === 'nearest' &&
    floors &&
    from.every((size, axis) => {
      const factor = (to[axis] ?? 0) / size;
      return Number.isInteger(factor) && factor === (givenScale(step, axis) ?? factor);
    })
  );
}

/** Resize is linear and separable: y = R x along each axis, so x' = R^T g. */
const resize: GradientRule = (step) => {
  const { node } = step;
  let [gradient] = step.gradients;
  if (!gradient) return [];
  const from = step.shape(node.inputs[0]);
  const to = step.shape(node.outputs[0]);
  if (isRepetition(step, from, to)) return [repetitionSums(step, gradient, from, to)];
  for (const axis of resizedAxes(step, from, to)) gradient = alongAxis(step, gradient, axis, from);
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

/**
 * R [to, from] is what the runtime makes of the identity matrix, resized along one axis with the same attributes. What lies
 * outside of x is a constant, which has no gradient: 0.
 */
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
  const { start, end } = regionOf(step, axis, from.length);
  const region = crops(node) ? write.constant(float32Tensor([8], [0, 0, start, 0, 1, 1, end, 1])) : null;
  const resized = write.node('Resize', [eye, region, ...operands], Object.fromEntries(attributes));
  return write.node('Reshape', [resized, write.ints([target, size])]);
}

/** The exact scale decides the coordinates; undefined when the node gives sizes, and for an axis that it does not resize. */
function givenScale(step: BackwardStep, axis: number): number | undefined {
  const { node } = step;
  const rank = step.shape(node.inputs[0]).length;
  if (node.inputs[3]) return scaleOfPolicy(step, axis);
  if (!node.inputs[2]) return undefined;
  const scales = step.constant(node.inputs[2]);
  if (!scales) throw unknownOperand(node, 'scales');
  return float32Values(scales)[placeOf(node, axis, rank)];
}

/** One scale for all axes, the smallest or the largest that their sizes ask for (ONNX Resize, keep_aspect_ratio_policy). */
function scaleOfPolicy(step: BackwardStep, axis: number): number | undefined {
  const { node } = step;
  const policy = stringAttribute(node, 'keep_aspect_ratio_policy', 'stretch');
  if (policy === 'stretch') return undefined;
  const sizes = step.constant(node.inputs[3]);
  if (!sizes) throw unknownOperand(node, 'sizes');
  const wanted = integerValues(sizes);
  const from = step.shape(node.inputs[0]);
  if (placeOf(node, axis, from.length) < 0) return undefined;
  const ratios = from.flatMap((size, at) => {
    const place = placeOf(node, at, from.length);
    return place < 0 ? [] : [(wanted[place] ?? size) / size];
  });
  return Math.fround(policy === 'not_larger' ? Math.min(...ratios) : Math.max(...ratios));
}

export const resamplingRules = {
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
  Resize: resize,
} as const satisfies Record<string, GradientRule>;
