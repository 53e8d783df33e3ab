/** Gradients of operators that move elements: the gradient is moved back, and summed where an element was copied. */
import { attributeOf, intAttribute, intsAttribute, type Value } from '../../ir/index.js';
import { sumTo } from '../broadcasting.js';
import { constantNumbers } from '../constant-numbers.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { transposedProduct } from '../transposed-product.js';

/** Any change of shape that keeps the order of the elements. */
const reshaped: GradientRule = (step) => {
  const [gradient] = step.gradients;
  return gradient ? [step.write.node('Reshape', [gradient, step.write.ints(step.shape(step.node.inputs[0]))])] : [];
};

/** The adjoint of a permutation is its inverse. A product is computed transposed rather than moved. */
const transpose: GradientRule = (step) => {
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const rank = step.shape(step.node.inputs[0]).length;
  const order = intsAttribute(step.node, 'perm', undefined) ?? Array.from({ length: rank }, (_, axis) => rank - 1 - axis);
  const inverse = order.map((_, axis) => order.indexOf(axis));
  const product = transposedProduct(step.write, gradient, inverse);
  if (product) return [product];
  return [step.write.node('Transpose', [gradient], { perm: attributeOf.ints(inverse) })];
};

const expand: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const { node } = step;
  return gradient ? [sumTo(step.write, gradient, step.shape(node.outputs[0]), step.shape(node.inputs[0]))] : [];
};

/** x of size d repeated r times is [r, d] along each axis: the sum over the r. */
const tile: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const { node, write } = step;
  if (!gradient) return [];
  const dims = step.shape(node.inputs[0]);
  const tiled = step.shape(node.outputs[0]);
  const split = write.node('Reshape', [gradient, write.ints(dims.flatMap((size, axis) => [(tiled[axis] ?? 1) / size, size]))]);
  const axes = write.ints(dims.map((_, axis) => 2 * axis));
  return [write.node('ReduceSum', [split, axes], { keepdims: attributeOf.int(0) })];
};

const concat: GradientRule = (step) => {
  const [gradient] = step.gradients;
  const { node, write } = step;
  if (!gradient) return [];
  const rank = step.shape(node.outputs[0]).length;
  const given = intAttribute(node, 'axis', 0);
  const axis = given < 0 ? given + rank : given;
  const sizes = node.inputs.map((input) => step.shape(input)[axis] ?? 0);
  if (node.inputs.length === 1) return [gradient];
  return write.nodes('Split', [gradient, write.ints(sizes)], { axis: attributeOf.int(axis) }, sizes.length);
};

/** Parts that carry no gradient are zeros. */
const split: GradientRule = (step) => {
  const { node, write } = step;
  const axis = attributeOf.int(intAttribute(node, 'axis', 0));
  const parts = node.outputs.map((output, index) => step.gradients[index] ?? zeros(step, step.shape(output)));
  return [parts.length === 1 ? (parts[0] as Value) : write.node('Concat', parts, { axis })];
};

const zeros = ({ write }: BackwardStep, dims: readonly number[]): Value => write.node('Expand', [write.float(0), write.ints(dims)]);

interface SlicedAxis {
  readonly axis: number;
  readonly start: number;
  readonly step: number;
}

/** First element taken on each sliced axis, clamped as ONNX Slice does. */
function slicedAxes(step: BackwardStep, dims: readonly number[]): SlicedAxis[] {
  const starts = constantNumbers(step, 'starts', 1) ?? [];
  const axes = constantNumbers(step, 'axes', 3) ?? starts.map((_, axis) => axis);
  const steps = constantNumbers(step, 'steps', 4) ?? starts.map(() => 1);
  return starts.map((given, at) => {
    const axis = (axes[at] ?? 0) < 0 ? (axes[at] ?? 0) + dims.length : (axes[at] ?? 0);
    const size = dims[axis] ?? 1;
    const stride = steps[at] ?? 1;
    const start = given < 0 ? given + size : given;
    return { axis, start: Math.min(Math.max(start, 0), stride > 0 ? size : size - 1), step: stride };
  });
}

/**
 * Back from a slice, axis by axis: elements |step| apart get zeros between them (a new axis, padded and merged again), a
 * negative step is turned round, then the rest of the axis is padded with zeros.
 */
const slice: GradientRule = (step) => {
  let [gradient] = step.gradients;
  const { node } = step;
  if (!gradient) return [];
  const dims = step.shape(node.inputs[0]);
  const present = [...step.shape(node.outputs[0])];
  for (const { axis, start, step: stride } of slicedAxes(step, dims)) {
    const count = present[axis] ?? 0;
    const size = dims[axis] ?? 0;
    if (count === size && stride === 1) continue;
    const width = Math.abs(stride);
    if (stride < 0) gradient = reversed(step, gradient, axis);
    if (width > 1) gradient = spread(step, gradient, { present, axis, width });
    const low = stride > 0 ? start : start - (count - 1) * width;
    present[axis] = count * width;
    gradient = padded(step, gradient, { axis, rank: dims.length, low, high: size - low - count * width });
    present[axis] = size;
  }
  return [gradient];
};

const LAST = Number.MAX_SAFE_INTEGER;

function reversed({ write }: BackwardStep, value: Value, axis: number): Value {
  return write.node('Slice', [value, write.ints([LAST]), write.ints([-LAST]), write.ints([axis]), write.ints([-1])]);
}

/** Each element of the axis followed by `width` - 1 zeros. */
function spread(
  { write }: BackwardStep,
  value: Value,
  { present, axis, width }: { present: readonly number[]; axis: number; width: number },
): Value {
  const apart = write.node('Reshape', [value, write.ints([...present.slice(0, axis + 1), 1, ...present.slice(axis + 1)])]);
  const rank = present.length + 1;
  const pads = Array.from({ length: 2 * rank }, (_, at) => (at === rank + axis + 1 ? width - 1 : 0));
  const filled = write.node('Pad', [apart, write.ints(pads)]);
  return write.node('Reshape', [filled, write.ints(present.map((size, at) => (at === axis ? size * width : size)))]);
}

/** Negative `high`: zeros behind the last element that the axis has no room for. */
function padded(
  { write }: BackwardStep,
  value: Value,
  { axis, rank, low, high }: { axis: number; rank: number; low: number; high: number },
): Value {
  if (low === 0 && high === 0) return value;
  return write.node('Pad', [
    value,
    write.ints(Array.from({ length: 2 * rank }, (_, at) => (at === axis ? low : at === rank + axis ? high : 0))),
  ]);
}

const trilu: GradientRule = ({ node, gradients: [gradient], write }) =>
  gradient ? [write.node('Trilu', [gradient, ...node.inputs.slice(1)], { upper: attributeOf.int(intAttribute(node, 'upper', 1)) })] : [];

export const movementRules = {
  Reshape: reshaped,
  Flatten: reshaped,
  Squeeze: reshaped,
  Unsqueeze: reshaped,
  Transpose: transpose,
  Expand: expand,
  Tile: tile,
  Concat: concat,
  Split: split,
  Slice: slice,
  Trilu: trilu,
} as const satisfies Record<string, GradientRule>;
