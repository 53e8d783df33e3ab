/** Gradients of matrix products. FusedMatMul transposes while it reads, so that nothing is transposed in memory. */
import { type Attribute, attributeOf, floatAttribute, type GraphWriter, intAttribute, type Value } from '../../ir/index.js';
import { sumTo } from '../broadcasting.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';

type Shape = readonly number[];

const transposed = (a: boolean, b: boolean): Record<string, Attribute> => ({
  transA: attributeOf.int(a ? 1 : 0),
  transB: attributeOf.int(b ? 1 : 0),
});

/** A vector as the matrix that MatMul takes it for: a row on the left, a column on the right. */
function asMatrix(write: GraphWriter, value: Value, shape: Shape, side: 'left' | 'right'): { value: Value; shape: Shape } {
  if (shape.length !== 1) return { value, shape };
  const [size = 1] = shape;
  const dims = side === 'left' ? [1, size] : [size, 1];
  return { value: write.node('Reshape', [value, write.ints(dims)]), shape: dims };
}

const batchOf = (shape: Shape): Shape => shape.slice(0, -2);

/** Batch axes of the product of two stacks of matrices. */
function joinedBatch(left: Shape, right: Shape): number[] {
  const rank = Math.max(left.length, right.length);
  const size = (shape: Shape, axis: number): number => shape[axis - (rank - shape.length)] ?? 1;
  return Array.from({ length: rank }, (_, axis) => (size(left, axis) === 1 ? size(right, axis) : size(left, axis)));
}

/** Y = A B: A' = Y' B^T, B' = A^T Y', summed over the batch axes along which an operand was repeated. */
const matMul: GradientRule = (step) => {
  const { write, node } = step;
  const [gradient] = step.gradients;
  if (!gradient) return [];
  const shapes = [step.shape(node.inputs[0]), step.shape(node.inputs[1])] as const;
  const a = asMatrix(write, node.inputs[0] as Value, shapes[0], 'left');
  const b = asMatrix(write, node.inputs[1] as Value, shapes[1], 'right');
  const batch = joinedBatch(batchOf(a.shape), batchOf(b.shape));
  const [rows = 1, inner = 1] = a.shape.slice(-2);
  const columns = b.shape.at(-1) ?? 1;
  const isVector = shapes.some((shape) => shape.length === 1);
  const g = isVector ? write.node('Reshape', [gradient, write.ints([...batch, rows, columns])]) : gradient;
  const back = (value: Value, from: Shape, to: { shape: Shape }, original: Shape): Value => {
    const summed = sumTo(write, value, from, to.shape);
    return original.length === 1 ? write.node('Reshape', [summed, write.ints(original)]) : summed;
  };
  const forA = () => back(write.microsoft('FusedMatMul', [g, b.value], transposed(false, true)), [...batch, rows, inner], a, shapes[0]);
  const forB = () =>
    b.shape.length === 2 && a.shape.length > 2
      ? weightGradient(step, { a: a.value, g, inner, columns }, shapes[1])
      : back(write.microsoft('FusedMatMul', [a.value, g], transposed(true, false)), [...batch, inner, columns], b, shapes[1]);
  return [step.wants(0) ? forA() : null, step.wants(1) ? forB() : null];
};

/** One matrix for a whole stack: the stack is one tall matrix, so its gradient is one product and no sum. */
function weightGradient(
  { write }: BackwardStep,
  { a, g, inner, columns }: { a: Value; g: Value; inner: number; columns: number },
  original: Shape,
): Value {
  const tall = (value: Value, width: number): Value => write.node('Reshape', [value, write.ints([-1, width])]);
  const product = write.microsoft('FusedMatMul', [tall(a, inner), tall(g, columns)], transposed(true, false));
  return original.length === 1 ? write.node('Reshape', [product, write.ints(original)]) : product;
}

/** Y = alpha op(A) op(B) + beta C. */
const gemm: GradientRule = (step) => {
  const { write, node } = step;
  const [gradient] = step.gradients;
  const [a, b] = node.inputs as readonly Value[];
  if (!gradient || !a || !b) return [];
  const alpha = attributeOf.float(floatAttribute(node, 'alpha', 1));
  const beta = floatAttribute(node, 'beta', 1);
  const ta = intAttribute(node, 'transA', 0) !== 0;
  const tb = intAttribute(node, 'transB', 0) !== 0;
  const product = (left: Value, right: Value, transA: boolean, transB: boolean): Value =>
    write.microsoft('FusedMatMul', [left, right], { ...transposed(transA, transB), alpha });
  const forA = () => (ta ? product(b, gradient, tb, true) : product(gradient, b, false, !tb));
  const forB = () => (tb ? product(gradient, a, true, ta) : product(a, gradient, !ta, false));
  const forC = (): Value => {
    const sum = sumTo(write, gradient, step.shape(node.outputs[0]), step.shape(node.inputs[2]));
    return beta === 1 ? sum : write.node('Mul', [sum, write.float(beta)]);
  };
  return [step.wants(0) ? forA() : null, step.wants(1) ? forB() : null, step.wants(2) ? forC() : null];
};

export const matrixRules = { MatMul: matMul, Gemm: gemm } as const satisfies Record<string, GradientRule>;
