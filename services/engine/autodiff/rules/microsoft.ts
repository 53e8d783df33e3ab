/** Gradients of onnxruntime's own operators, which models that it optimized hold. */
import { type Attribute, attributeOf, floatAttribute, type GraphWriter, intAttribute, type Value } from '../../ir/index.js';
import { sumTo } from '../broadcasting.js';
import { erfGeluSlope, swishSlope, tanhGeluSlope } from '../gelu.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';
import { unknownOperand } from '../no-gradient.js';

type Shape = readonly number[];

/** Sizes of the stacks that numpy broadcasting joins. */
function joined(left: Shape, right: Shape): number[] {
  const rank = Math.max(left.length, right.length);
  const size = (shape: Shape, axis: number): number => shape[axis - (rank - shape.length)] ?? 1;
  return Array.from({ length: rank }, (_, axis) => Math.max(size(left, axis), size(right, axis)));
}

/** Y = alpha op(A) op(B): A' = alpha Y' op(B)^T and B' = alpha op(A)^T Y', transposed where the operand is. */
const fusedMatMul: GradientRule = (step) => {
  const { node, write } = step;
  const [gradient] = step.gradients;
  const [a, b] = node.inputs as readonly Value[];
  if (!gradient || !a || !b) return [];
  const [aDims, bDims] = [step.shape(a), step.shape(b)];
  if (intAttribute(node, 'transBatchA', 0) !== 0 || intAttribute(node, 'transBatchB', 0) !== 0) throw unknownOperand(node, 'batch axes');
  if (aDims.length < 2 || bDims.length < 2) throw unknownOperand(node, 'vectors');
  const alpha = attributeOf.float(floatAttribute(node, 'alpha', 1));
  const [ta, tb] = [intAttribute(node, 'transA', 0) !== 0, intAttribute(node, 'transB', 0) !== 0];
  const batch = joined(aDims.slice(0, -2), bDims.slice(0, -2));
  const product = (left: Value, right: Value, transA: boolean, transB: boolean): Value =>
    write.microsoft('FusedMatMul', [left, right], { ...transposed(transA, transB), alpha });
  const back = (value: Value, dims: Shape): Value => sumTo(write, value, [...batch, ...dims.slice(-2)], dims);
  const forA = () => back(ta ? product(b, gradient, tb, true) : product(gradient, b, false, !tb), aDims);
  const forB = () => back(tb ? product(gradient, a, true, ta) : product(a, gradient, !ta, false), bDims);
  return [step.wants(0) ? forA() : null, step.wants(1) ? forB() : null];
};

const transposed = (a: boolean, b: boolean): Record<string, Attribute> => ({
  transA: attributeOf.int(a ? 1 : 0),
  transB: attributeOf.int(b ? 1 : 0),
});

/** y = f(x + bias): both have the gradient g f'(x + bias), that of the bias summed over what it was repeated along. */
const biased =
  (slope: (write: GraphWriter, x: Value) => Value): GradientRule =>
  (step) => {
    const { node, write } = step;
    const [gradient] = step.gradients;
    const [x, bias] = node.inputs;
    if (!gradient || !x) return [];
    const dx = write.node('Mul', [gradient, slope(write, bias ? write.node('Add', [x, bias]) : x)]);
    return [dx, bias && step.wants(1) ? sumTo(write, dx, step.shape(x), step.shape(bias)) : null];
  };

/** x s(alpha x). */
const quickGelu: GradientRule = ({ node, write, gradients: [gradient] }: BackwardStep) => {
  const [x] = node.inputs;
  return gradient && x ? [write.node('Mul', [gradient, swishSlope(write, x, floatAttribute(node, 'alpha', 1.702))])] : [];
};

export const microsoftRules = {
  FusedMatMul: fusedMatMul,
  Gelu: biased(erfGeluSlope),
  BiasGelu: biased(erfGeluSlope),
  FastGelu: biased(tanhGeluSlope),
  QuickGelu: quickGelu,
} as const satisfies Record<string, GradientRule>;
