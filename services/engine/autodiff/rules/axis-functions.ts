/** Gradients of functions along an axis. */
import { attributeOf, intAttribute, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';

const rowSum = (step: BackwardStep, value: Value): Value =>
  step.write.node('ReduceSum', [value, step.write.ints([intAttribute(step.node, 'axis', -1)])], { keepdims: attributeOf.int(1) });

/** y (g - sum g y). */
const softmax: GradientRule = (step) => {
  const [y] = step.node.outputs;
  const [gradient] = step.gradients;
  if (!y || !gradient) return [];
  const { write } = step;
  return [write.node('Mul', [y, write.node('Sub', [gradient, rowSum(step, write.node('Mul', [gradient, y]))])])];
};

/** g - exp(y) sum g. */
const logSoftmax: GradientRule = (step) => {
  const [y] = step.node.outputs;
  const [gradient] = step.gradients;
  if (!y || !gradient) return [];
  const { write } = step;
  return [write.node('Sub', [gradient, write.node('Mul', [write.node('Exp', [y]), rowSum(step, gradient)])])];
};

/** y_i = sum of x up to i has the adjoint sum of g from i on: the same operator the other way round. */
const cumSum: GradientRule = ({ node, gradients: [gradient], write }) => {
  const axis = node.inputs[1];
  if (!gradient || !axis) return [];
  const reverse = attributeOf.int(intAttribute(node, 'reverse', 0) === 0 ? 1 : 0);
  return [write.node('CumSum', [gradient, axis], { reverse, exclusive: attributeOf.int(intAttribute(node, 'exclusive', 0)) })];
};

export const axisFunctionRules = { Softmax: softmax, LogSoftmax: logSoftmax, CumSum: cumSum } as const satisfies Record<
  string,
  GradientRule
>;
