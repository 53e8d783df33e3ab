/** Fact inference for elementwise operators, and integer arithmetic on the elements of small tensors. */
import { type DataType, dataTypeFromCode, intAttribute, type Node } from '../ir/index.js';
import type { FactView, InferenceRule } from './infer-rule.js';
import {
  addExtents,
  allNumbers,
  broadcastShapes,
  divideExtents,
  type Extent,
  elementsTrackedMax,
  exactly,
  freshElement,
  isTrackedType,
  multiplyExtents,
  productOfExtents,
  subtractExtents,
  unknownFact,
  type ValueFact,
} from './value-facts.js';

type Combine = (...operands: Extent[]) => Extent;

/** Reads `shape` numpy-style at `flatIndex` of the broadcast `target`. */
function broadcastIndex(flatIndex: number, target: readonly number[], shape: readonly number[]): number {
  let remaining = flatIndex;
  let index = 0;
  let stride = 1;
  for (let axis = target.length - 1; axis >= 0; axis -= 1) {
    const size = target[axis] ?? 1;
    const position = remaining % size;
    remaining = Math.floor(remaining / size);
    const own = shape[axis - (target.length - shape.length)];
    if (own === undefined) continue;
    if (own !== 1) index += position * stride;
    stride *= own;
  }
  return index;
}

/** The elements of an elementwise result when every operand's elements are known. */
export function combineElements(facts: readonly ValueFact[], shape: readonly Extent[] | null, combine: Combine): Extent[] | null {
  if (!allNumbers(shape)) return null;
  const count = productOfExtents(shape);
  if (typeof count !== 'number' || count > elementsTrackedMax) return null;
  const operands: { elements: readonly Extent[]; shape: readonly number[] }[] = [];
  for (const fact of facts) {
    if (!fact.elements || !allNumbers(fact.shape)) return null;
    operands.push({ elements: fact.elements, shape: fact.shape });
  }
  return Array.from({ length: count }, (_, flat) =>
    combine(...operands.map((operand) => operand.elements[broadcastIndex(flat, shape, operand.shape)] ?? freshElement())),
  );
}

function binary(combine: Combine | null, result: DataType | null = null): InferenceRule {
  return (node, view) => {
    const facts = node.inputs.map((input) => view.fact(input));
    const shape = broadcastShapes(facts.map((fact) => fact.shape));
    const dataType = result ?? facts.find((fact) => fact.dataType !== null)?.dataType ?? null;
    const elements = combine && isTrackedType(dataType) ? combineElements(facts, shape, combine) : null;
    // int32 arithmetic wraps; a result that leaves the range is left to the runtime.
    const wraps = dataType === 'int32' && elements?.some((value) => typeof value === 'number' && Math.abs(value) >= 2 ** 31);
    return [{ dataType, shape, elements: wraps ? null : elements }];
  };
}

const numeric =
  (compute: (left: number, right: number) => number): Combine =>
  (left, right) =>
    typeof left === 'number' && typeof right === 'number' ? exactly(compute, left, right) : freshElement();

const equal: Combine = (left, right) => {
  if (typeof left === 'number' && typeof right === 'number') return exactly((a, b) => Number(a === b), left, right);
  return left === right && left !== undefined ? 1 : freshElement();
};

const not: Combine = (operand) => (typeof operand === 'number' ? Number(operand === 0) : freshElement());

function unary(combine: Combine | null = null, result: DataType | null = null): InferenceRule {
  return (node, view) => {
    const fact = view.fact(node.inputs[0]);
    const dataType = result ?? fact.dataType;
    const elements = combine && isTrackedType(dataType) ? combineElements([fact], fact.shape, combine) : null;
    return [{ dataType, shape: fact.shape, elements }, ...node.outputs.slice(1).map(() => ({ ...unknownFact, shape: fact.shape }))];
  };
}

function castElements(fact: ValueFact, to: DataType | undefined): readonly Extent[] | null {
  if (!fact.elements) return null;
  if (to === 'int64' && fact.dataType !== null) return fact.elements;
  if (to === 'int32') return fact.elements.every((value) => typeof value !== 'number' || Math.abs(value) < 2 ** 31) ? fact.elements : null;
  if (to === 'bool') return allNumbers(fact.elements) ? fact.elements.map((value) => Number(value !== 0)) : null;
  return null;
}

const cast: InferenceRule = (node, view) => {
  const fact = view.fact(node.inputs[0]);
  const to = dataTypeFromCode(intAttribute(node, 'to', 0));
  return [{ dataType: to ?? null, shape: fact.shape, elements: castElements(fact, to) }];
};

const where: InferenceRule = (node, view) => {
  const [condition, whenTrue, whenFalse] = [0, 1, 2].map((index) => view.fact(node.inputs[index]));
  if (!condition || !whenTrue || !whenFalse) return [unknownFact];
  const shape = broadcastShapes([condition.shape, whenTrue.shape, whenFalse.shape]);
  const choose: Combine = (test, left, right) => {
    if (typeof test === 'number') return (test === 0 ? right : left) ?? freshElement();
    return left === right && left !== undefined ? left : freshElement();
  };
  const dataType = whenTrue.dataType ?? whenFalse.dataType;
  const elements = isTrackedType(dataType) ? combineElements([condition, whenTrue, whenFalse], shape, choose) : null;
  return [{ dataType, shape, elements }];
};

function sameAsFirst(node: Node, view: FactView): ValueFact[] {
  const fact = view.fact(node.inputs[0]);
  return [{ ...fact, elements: null }];
}

const identity: InferenceRule = (node, view) => [view.fact(node.inputs[0])];

const dropout: InferenceRule = (node, view) => {
  const fact = view.fact(node.inputs[0]);
  return [
    { ...fact, elements: null },
    { dataType: 'bool', shape: fact.shape, elements: null },
  ];
};

const unaryFloat = (
  'Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish LeakyRelu Log ' +
  'LogSoftmax LpNormalization LRN Mish Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softmax Softplus Softsign Sqrt Swish ' +
  'Tan Tanh ThresholdedRelu Hardmax InstanceNormalization GroupNormalization MeanVarianceNormalization CumSum Trilu ' +
  'ScatterND ScatterElements Scatter BitwiseNot EyeLike'
).split(' ');

export const elementwiseRules: Readonly<Record<string, InferenceRule>> = {
  ...Object.fromEntries(unaryFloat.map((opType) => [opType, sameAsFirst])),
  Add: binary(addExtents as Combine),
  Sub: binary(subtractExtents as Combine),
  Mul: binary(multiplyExtents as Combine),
  Div: binary(divideExtents as Combine),
  Min: binary((...operands) => (allNumbers(operands) && operands.every(Number.isSafeInteger) ? Math.min(...operands) : freshElement())),
  Max: binary((...operands) => (allNumbers(operands) && operands.every(Number.isSafeInteger) ? Math.max(...operands) : freshElement())),
  Mod: binary(null),
  Pow: (node, view) => [{ ...(binary(null)(node, view)[0] ?? unknownFact), dataType: view.fact(node.inputs[0]).dataType }],
  PRelu: sameAsFirst,
  Sum: binary(null),
  Mean: binary(null),
  Equal: binary(equal, 'bool'),
  Greater: binary(
    numeric((left, right) => Number(left > right)),
    'bool',
  ),
  GreaterOrEqual: binary(
    numeric((left, right) => Number(left >= right)),
    'bool',
  ),
  Less: binary(
    numeric((left, right) => Number(left < right)),
    'bool',
  ),
  LessOrEqual: binary(
    numeric((left, right) => Number(left <= right)),
    'bool',
  ),
  And: binary(
    numeric((left, right) => Number(left !== 0 && right !== 0)),
    'bool',
  ),
  Or: binary(
    numeric((left, right) => Number(left !== 0 || right !== 0)),
    'bool',
  ),
  Xor: binary(
    numeric((left, right) => Number((left !== 0) !== (right !== 0))),
    'bool',
  ),
  Not: unary(not, 'bool'),
  Neg: unary((operand) => subtractExtents(0, operand ?? freshElement())),
  IsNaN: unary(null, 'bool'),
  IsInf: unary(null, 'bool'),
  Cast: cast,
  CastLike: (node, view) => [{ ...view.fact(node.inputs[0]), dataType: view.fact(node.inputs[1]).dataType, elements: null }],
  Where: where,
  Identity: identity,
  Dropout: dropout,
};
