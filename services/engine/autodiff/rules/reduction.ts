/** Gradients of reductions: what was summed up gets the gradient of the sum, times the slope of the reduction. */
import { attributeOf, intAttribute, integerValues, intsAttribute, type Node, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../no-gradient.js';

interface Reduction {
  readonly x: Value;
  readonly dims: readonly number[];
  /** Reduced axes, none negative. */
  readonly axes: readonly number[];
  /** Elements that one output is made of. */
  readonly count: number;
  /** y and g in the rank of x: reduced axes of size 1. */
  readonly y: Value;
  readonly gradient: Value;
}

/** Axes as an attribute or as input 1; none means all, or nothing at all with `noop_with_empty_axes`. */
function reducedAxes(step: BackwardStep, rank: number): readonly number[] {
  const { node } = step;
  const given = intsAttribute(node, 'axes', undefined) ?? axesInput(step, node);
  if (given && given.length > 0) return given.map((axis) => (axis < 0 ? axis + rank : axis));
  return intAttribute(node, 'noop_with_empty_axes', 0) !== 0 ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

function axesInput(step: BackwardStep, node: Node): readonly number[] | undefined {
  if (!node.inputs[1]) return undefined;
  const tensor = step.constant(node.inputs[1]);
  if (!tensor) throw unknownOperand(node, 'axes');
  return integerValues(tensor);
}

function reductionOf(step: BackwardStep): Reduction | undefined {
  const { node, write } = step;
  const [x] = node.inputs;
  const [y] = node.outputs;
  const [gradient] = step.gradients;
  if (!x || !y || !gradient) return undefined;
  const dims = step.shape(x);
  const axes = reducedAxes(step, dims.length);
  const kept = dims.map((size, axis) => (axes.includes(axis) ? 1 : size));
  const flat = intAttribute(node, 'keepdims', 1) === 0 && axes.length > 0;
  const raised = (value: Value): Value => (flat ? write.node('Reshape', [value, write.ints(kept)]) : value);
  const count = axes.reduce((product, axis) => product * (dims[axis] ?? 1), 1);
  return { x, dims, axes, count, y: raised(y), gradient: raised(gradient) };
}

/** dL/dx = g f'(x, y), broadcast to the shape of x. */
const reduction =
  (slope: (step: BackwardStep, reduction: Reduction) => Value): GradientRule =>
  (step) => {
    const found = reductionOf(step);
    return found ? [slope(step, found)] : [];
  };

const expand = ({ write }: BackwardStep, value: Value, dims: readonly number[]): Value => write.node('Expand', [value, write.ints(dims)]);
const times = ({ write }: BackwardStep, left: Value, right: Value): Value => write.node('Mul', [left, right]);

/** The extremes of a row share its gradient (training.md 4.1). */
const extreme = reduction((step, { x, y, gradient, axes }) => {
  const { write } = step;
  const hits = write.node('Cast', [write.node('Equal', [x, y])], { to: attributeOf.int(1) });
  const count = axes.length === 0 ? hits : write.node('ReduceSum', [hits, write.ints(axes)], { keepdims: attributeOf.int(1) });
  return times(step, hits, write.node('Div', [gradient, count]));
});

export const reductionRules = {
  ReduceSum: reduction((step, { gradient, dims }) => expand(step, gradient, dims)),
  ReduceMean: reduction((step, { gradient, dims, count }) => expand(step, times(step, gradient, step.write.float(1 / count)), dims)),
  /** d sum x^2 = 2 x. */
  ReduceSumSquare: reduction((step, { x, gradient }) => times(step, x, times(step, gradient, step.write.float(2)))),
  ReduceL1: reduction((step, { x, gradient }) => times(step, step.write.node('Sign', [x]), gradient)),
  /** d ||x|| = x / ||x||. */
  ReduceL2: reduction((step, { x, y, gradient }) => times(step, x, step.write.node('Div', [gradient, y]))),
  /** d ln sum x = 1 / sum x = exp(-y). */
  ReduceLogSum: reduction((step, { y, gradient, dims }) =>
    expand(step, times(step, gradient, step.write.node('Exp', [step.write.node('Neg', [y])])), dims),
  ),
  /** d ln sum exp x = exp(x - y). */
  ReduceLogSumExp: reduction((step, { x, y, gradient }) => times(step, step.write.node('Exp', [step.write.node('Sub', [x, y])]), gradient)),
  ReduceMax: extreme,
  ReduceMin: extreme,
  /** d prod x = y / x. Not exact where a factor is 0: 0 / 0 there, though the product of the other factors need not be 0. */
  ReduceProd: reduction((step, { x, y, gradient }) => step.write.node('Div', [times(step, gradient, y), x])),
} as const satisfies Record<string, GradientRule>;
