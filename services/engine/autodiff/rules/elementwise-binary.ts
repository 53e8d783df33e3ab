/** Gradients of elementwise operators of several inputs. y is the output, g = dL/dy; broadcast operands are summed back. */
import { attributeOf, dataTypes, elementCount, float32Values, integerValues, type Value } from '../../ir/index.js';
import { sumTo } from '../broadcasting.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';

const FLOAT32 = dataTypes.float32.code;

/** dL/dx of input `index` before the sum over what was broadcast, in the shape of y. */
type Partial = (step: BackwardStep, gradient: Value, index: number) => Value;

/** Operand, output and gradient in hand, the partial of each wanted input, summed to the shape of that input. */
function broadcast(...partials: readonly Partial[]): GradientRule {
  return (step) => {
    const [gradient] = step.gradients;
    if (!gradient) return [];
    const from = step.shape(step.node.outputs[0]);
    return step.node.inputs.map((input, index) => {
      const partial = partials[Math.min(index, partials.length - 1)];
      if (!partial || !step.wants(index)) return null;
      return sumTo(step.write, partial(step, gradient, index), from, step.shape(input));
    });
  };
}

const pass: Partial = (_step, gradient) => gradient;
const input = (step: BackwardStep, index: number): Value => step.node.inputs[index] as Value;
const output = (step: BackwardStep): Value => step.node.outputs[0] as Value;
const mul = ({ write }: BackwardStep, left: Value, right: Value): Value => write.node('Mul', [left, right]);
const neg = ({ write }: BackwardStep, value: Value): Value => write.node('Neg', [value]);

/** d(a b)/da = b. */
const otherFactor: Partial = (step, gradient, index) => mul(step, gradient, input(step, 1 - index));

/** The one number of a constant, of whatever type; undefined for more of them. */
function constantNumber(step: BackwardStep, value: Value): number | undefined {
  const tensor = step.constant(value);
  if (!tensor || elementCount(tensor.dims) !== 1) return undefined;
  return tensor.dataType === 'float32'
    ? float32Values(tensor)[0]
    : integerTypes.has(tensor.dataType)
      ? integerValues(tensor)[0]
      : undefined;
}

const integerTypes: ReadonlySet<string> = new Set(['int64', 'int32']);

/** d(a^b)/da = b a^(b-1), plainly 2 a for squares; b may be an integer where a is none. */
const powBase: Partial = (step, gradient) => {
  const { write } = step;
  const base = input(step, 0);
  const constant = constantNumber(step, input(step, 1));
  if (constant === 2) return mul(step, gradient, mul(step, base, write.float(2)));
  const exponent = constant === undefined ? write.node('Cast', [input(step, 1)], { to: attributeOf.int(FLOAT32) }) : write.float(constant);
  const less = constant === undefined ? write.node('Sub', [exponent, write.float(1)]) : write.float(constant - 1);
  return mul(step, gradient, mul(step, exponent, write.node('Pow', [base, less])));
};

/** d(a^b)/db = a^b ln a, taken as 0 where a <= 0. */
const powExponent: Partial = (step, gradient) => {
  const { write } = step;
  const base = input(step, 0);
  const positive = write.node('Greater', [base, write.float(0)]);
  const logarithm = write.node('Log', [write.node('Where', [positive, base, write.float(1)])]);
  return mul(step, gradient, mul(step, output(step), logarithm));
};

/** The gradient goes to the operand that is the extreme; operands that tie share it equally (training.md 4.1). */
const extreme: GradientRule = (step) => {
  const { write, node } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const from = step.shape(node.outputs[0]);
  const hits = node.inputs.map((each) => write.node('Cast', [write.node('Equal', [each, output(step)])], { to: attributeOf.int(FLOAT32) }));
  const share = write.node('Div', [gradient, hits.length === 1 ? (hits[0] as Value) : write.node('Sum', hits)]);
  return node.inputs.map((each, index) =>
    step.wants(index) ? sumTo(write, mul(step, share, hits[index] as Value), from, step.shape(each)) : null,
  );
};

/** y = c ? a : b. */
const where: GradientRule = (step) => {
  const { write, node } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const from = step.shape(node.outputs[0]);
  const zero = write.float(0);
  const chosen = [
    [gradient, zero],
    [zero, gradient],
  ] as const;
  const sides = chosen.map((operands, side) =>
    step.wants(side + 1) ? sumTo(write, write.node('Where', [input(step, 0), ...operands]), from, step.shape(node.inputs[side + 1])) : null,
  );
  return [null, ...sides];
};

/** y = x for x >= 0, slope x below: dx = g or slope g, dslope = g min(x, 0); the slope is broadcast from the right. */
const prelu = broadcast(
  (step, gradient) => {
    const positive = step.write.node('GreaterOrEqual', [input(step, 0), step.write.float(0)]);
    return step.write.node('Where', [positive, gradient, mul(step, gradient, input(step, 1))]);
  },
  (step, gradient) => mul(step, gradient, step.write.node('Min', [input(step, 0), step.write.float(0)])),
);

export const binaryRules = {
  Add: broadcast(pass),
  Sub: broadcast(pass, (step, gradient) => neg(step, gradient)),
  Mul: broadcast(otherFactor),
  /** d(a/b)/da = 1/b; d(a/b)/db = -y/b. */
  Div: broadcast(
    (step, gradient) => step.write.node('Div', [gradient, input(step, 1)]),
    (step, gradient) => neg(step, step.write.node('Div', [mul(step, gradient, output(step)), input(step, 1)])),
  ),
  Pow: broadcast(powBase, powExponent),
  Sum: broadcast(pass),
  Mean: broadcast((step, gradient) => step.write.node('Div', [gradient, step.write.float(step.node.inputs.length)])),
  Max: extreme,
  Min: extreme,
  Where: where,
  PRelu: prelu,
} as const satisfies Record<string, GradientRule>;
