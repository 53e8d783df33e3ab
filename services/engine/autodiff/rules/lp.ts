/** Gradients of pooling and normalization by p-norms: ||x|| = (sum |x|^p)^(1/p), d||x|| / dx = sign(x) (|x| / ||x||)^(p - 1). */
import { attributeOf, intAttribute, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { reduced } from '../reduced.js';
import { intoWindows } from './pooling.js';

const op = ({ write }: BackwardStep, opType: string, ...inputs: Value[]): Value => write.node(opType, inputs);

/** sign(x) |x|^(p - 1). */
function signedPower(step: BackwardStep, x: Value, p: number): Value {
  if (p === 2) return x;
  const sign = op(step, 'Sign', x);
  return p === 1 ? sign : op(step, 'Mul', sign, op(step, 'Pow', op(step, 'Abs', x), step.write.float(p - 1)));
}

/** y^(1 - p), and 0 where y is 0, as then is all that it was made of. */
function inversePower(step: BackwardStep, y: Value, p: number): Value {
  const { write } = step;
  const power = op(step, 'Pow', y, write.float(1 - p));
  return op(step, 'Where', op(step, 'Greater', y, write.float(0)), power, write.float(0));
}

/** x' = sign(x) |x|^(p - 1) times the sum over its windows of y' y^(1 - p). */
const pooled =
  (spread: (step: BackwardStep, value: Value) => Value): GradientRule =>
  (step) => {
    const [gradient] = step.gradients;
    const [x] = step.node.inputs;
    const [y] = step.node.outputs;
    if (!gradient || !x || !y) return [];
    const p = intAttribute(step.node, 'p', 2);
    const share = p === 1 ? gradient : op(step, 'Mul', gradient, inversePower(step, y, p));
    return [op(step, 'Mul', signedPower(step, x, p), spread(step, share))];
  };

/** y = x / ||x||: x' = (y' - d||x|| / dx sum y' y) / ||x||. */
const lpNormalization: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [x] = node.inputs;
  const [y] = node.outputs;
  if (!gradient || !x || !y) return [];
  const axes = [intAttribute(node, 'axis', -1)];
  const p = intAttribute(node, 'p', 2);
  const norm = reduced(write, p === 1 ? 'ReduceL1' : 'ReduceL2', x, axes);
  const slope = p === 1 ? op(step, 'Sign', x) : y;
  const along = write.node('ReduceSum', [op(step, 'Mul', gradient, y), write.ints(axes)], { keepdims: attributeOf.int(1) });
  return [op(step, 'Div', op(step, 'Sub', gradient, op(step, 'Mul', slope, along)), norm)];
};

export const lpRules = {
  LpPool: pooled(intoWindows),
  GlobalLpPool: pooled((_, value) => value),
  LpNormalization: lpNormalization,
} as const satisfies Record<string, GradientRule>;
