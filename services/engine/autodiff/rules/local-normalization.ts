/** Gradients of normalizations without parameters. */
import { attributeOf, floatAttribute, intAttribute, intsAttribute, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { reduced } from '../reduced.js';

const op = ({ write }: BackwardStep, opType: string, ...inputs: Value[]): Value => write.node(opType, inputs);

/** y = (x - mean x) / s with s the deviation: x' = (y' - mean y' - y mean y' y) / s. */
const meanVarianceNormalization: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (!gradient || !x || !y) return [];
  const axes = intsAttribute(node, 'axes', [0, 2, 3]);
  const mean = (value: Value): Value => reduced(write, 'ReduceMean', value, axes);
  const centered = op(step, 'Sub', x, mean(x));
  const deviation = op(step, 'Sqrt', mean(op(step, 'Mul', centered, centered)));
  const along = op(step, 'Mul', y, mean(op(step, 'Mul', gradient, y)));
  return [op(step, 'Div', op(step, 'Sub', op(step, 'Sub', gradient, mean(gradient)), along), deviation)];
};

/** Sums over `size` channels around each: pads count in the average, so that it is a share of the sum at the borders too. */
function channelWindowSums({ write }: BackwardStep, value: Value, { dims, size }: { dims: readonly number[]; size: number }): Value {
  const side = (size - 1) / 2;
  const [batch = 1, channels = 1] = dims;
  const plane = write.node('Reshape', [value, write.ints([batch, 1, channels, -1])]);
  const average = write.node('AveragePool', [plane], {
    kernel_shape: attributeOf.ints([size, 1]),
    pads: attributeOf.ints([side, 0, side, 0]),
    count_include_pad: attributeOf.int(1),
  });
  return write.node('Reshape', [write.node('Mul', [average, write.float(size)]), write.ints(dims)]);
}

/**
 * y = x s^-b with s = k + a / n sum of x^2 over the n channels around its own, n odd (Krizhevsky et al. 2012):
 *   x'_i = y'_i s_i^-b - 2 a b / n x_i sum of y'_j x_j s_j^(-b - 1) over the channels j whose sums take in i.
 */
const lrn: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [x] = node.inputs;
  if (!gradient || !x) return [];
  const size = intAttribute(node, 'size', 1);
  const [alpha, beta] = [floatAttribute(node, 'alpha', 1e-4), floatAttribute(node, 'beta', 0.75)];
  const dims = step.shape(x);
  const squares = channelWindowSums(step, op(step, 'Mul', x, x), { dims, size });
  const s = op(step, 'Add', op(step, 'Mul', squares, write.float(alpha / size)), write.float(floatAttribute(node, 'bias', 1)));
  const own = op(step, 'Mul', gradient, op(step, 'Pow', s, write.float(-beta)));
  const shares = op(step, 'Div', op(step, 'Mul', own, x), s);
  const others = channelWindowSums(step, shares, { dims, size });
  return [op(step, 'Sub', own, op(step, 'Mul', op(step, 'Mul', x, others), write.float((2 * alpha * beta) / size)))];
};

export const localNormalizationRules = {
  MeanVarianceNormalization: meanVarianceNormalization,
  LRN: lrn,
} as const satisfies Record<string, GradientRule>;
