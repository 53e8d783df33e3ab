/** Matrix products of 8-bit codes as the saturating kernel computes them: every operator that the runtime has for them. */
import { elementCount, float32Tensor, float32Values, floatAttribute, intAttribute, type Node, type Tensor, tensorOf } from '../ir/index.js';
import { quantizeDynamically } from './dynamic-quantization.js';
import {
  broadcastStack,
  codesOf,
  codeType,
  type Inputs,
  int32Values,
  matrixDims,
  perChannel,
  required,
  scalarOf,
  transposedCodes,
} from './operand.js';
import { requantize, scaleToFloat } from './requantization.js';
import { correctZeroPoints, PreparedWeightCache, type PreparedWeights, prepareWeights, saturatingProduct } from './saturating-product.js';

const cache = new PreparedWeightCache();

interface Operands {
  readonly left: Tensor;
  readonly leftZeroPoint: number;
  readonly right: Tensor;
  readonly rightZeroPoint: Tensor | null | undefined;
  readonly transposesLeft?: boolean;
  readonly transposesRight?: boolean;
}

interface Sums {
  readonly sums: Int32Array;
  readonly dims: readonly number[];
  readonly columns: number;
}

/** sum_k (a - za)(b - zb) with saturating pairs, for stacks of matrices that broadcast as numpy.matmul does. */
function integerSums(node: Node, operands: Operands): Sums {
  const { left, right, leftZeroPoint } = operands;
  const [leftDims, rightDims] = [orderedDims(left, 'left', operands.transposesLeft), orderedDims(right, 'right', operands.transposesRight)];
  const [rows = 1, depth = 1] = leftDims.slice(-2);
  const columns = rightDims.at(-1) ?? 1;
  const stack = broadcastDims(leftDims.slice(0, -2), rightDims.slice(0, -2));
  const a = operands.transposesLeft ? transposedCodes(codesOf(left), depth, rows) : codesOf(left);
  const weights = preparedStack(operands, columns);
  const weightZeroPoints = perChannel(node, operands.rightZeroPoint, columns, 0);
  const sums = new Int32Array(elementCount(stack) * rows * columns);
  const rightOf = broadcastStack(rightDims.slice(0, -2), stack);
  for (const [at, index] of broadcastStack(leftDims.slice(0, -2), stack).entries()) {
    const activations = a.subarray(index * rows * depth, (index + 1) * rows * depth);
    const matrix = weights[rightOf[at] ?? 0];
    if (!matrix) continue;
    const product = saturatingProduct(activations, rows, matrix);
    correctZeroPoints(product, { activations, activationZeroPoint: leftZeroPoint, weights: matrix, weightZeroPoints });
    sums.set(product, at * rows * columns);
  }
  const outer = [...stack, ...(left.dims.length === 1 ? [] : [rows]), ...(right.dims.length === 1 ? [] : [columns])];
  return { sums, dims: outer, columns };
}

function orderedDims(tensor: Tensor, side: 'left' | 'right', isTransposed: boolean | undefined): readonly number[] {
  const dims = matrixDims(tensor, side);
  return isTransposed ? [...dims.slice(0, -2), dims.at(-1) ?? 1, dims.at(-2) ?? 1] : dims;
}

function broadcastDims(a: readonly number[], b: readonly number[]): number[] {
  const length = Math.max(a.length, b.length);
  return Array.from({ length }, (_, axis) => {
    const [left, right] = [a[axis + a.length - length] ?? 1, b[axis + b.length - length] ?? 1];
    return left === 1 ? right : left;
  });
}

/** The rows of each matrix of the stack. */
function preparedStack({ left, right, transposesRight }: Operands, columns: number): readonly PreparedWeights[] {
  const saturates = left.dataType === 'uint8' && right.dataType === 'int8';
  return cache.get(right, `${transposesRight} ${saturates}`, () => {
    const [rows = 1, width = 1] = matrixDims(right, 'right').slice(-2);
    const codes = transposesRight ? codesOf(right) : transposedCodes(codesOf(right), rows, width);
    const size = rows * width;
    const count = size === 0 ? 0 : codes.length / size;
    return Array.from({ length: count }, (_, at) => prepareWeights(codes.subarray(at * size, (at + 1) * size), columns, saturates));
  });
}

/** Inputs: a, b, a_zero_point, b_zero_point. */
export function emulatedMatMulInteger(node: Node, inputs: Inputs): Tensor {
  const { sums, dims } = integerSums(node, {
    left: required(node, inputs, 0),
    leftZeroPoint: scalarOf(inputs[2], 0),
    right: required(node, inputs, 1),
    rightZeroPoint: inputs[3],
  });
  return tensorOf('int32', dims, sums);
}

/** Inputs: a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point. Scale: a_scale * b_scale / y_scale in float32. */
export function emulatedQLinearMatMul(node: Node, inputs: Inputs): Tensor {
  const { sums, dims, columns } = integerSums(node, {
    left: required(node, inputs, 0),
    leftZeroPoint: scalarOf(inputs[2], 0),
    right: required(node, inputs, 3),
    rightZeroPoint: inputs[5],
  });
  const [aScale, yScale] = [scalarOf(inputs[1], 1), scalarOf(inputs[6], 1)];
  const scales = Float32Array.from(perChannel(node, inputs[4], columns, 1), (scale) => Math.fround(aScale * scale) / yScale);
  const zeroPoint = required(node, inputs, 7);
  const type = codeType(zeroPoint);
  return tensorOf(type, dims, requantize(sums, columns, { scales, bias: null, zeroPoint: scalarOf(zeroPoint, 0), type }));
}

/** Inputs: a, b, a_scale, b_scale, a_zero_point, b_zero_point, bias. */
export function emulatedMatMulIntegerToFloat(node: Node, inputs: Inputs): Tensor {
  const { sums, dims, columns } = integerSums(node, {
    left: required(node, inputs, 0),
    leftZeroPoint: scalarOf(inputs[4], 0),
    right: required(node, inputs, 1),
    rightZeroPoint: inputs[5],
  });
  const aScale = scalarOf(inputs[2], 1);
  const scales = Float32Array.from(perChannel(node, inputs[3], columns, 1), (scale) => aScale * scale);
  return float32Tensor(dims, scaleToFloat(sums, columns, scales, inputs[6] ? float32Values(inputs[6]) : null));
}

/** Inputs: a in float, b, b_scale, b_zero_point, bias. */
export function emulatedDynamicQuantizeMatMul(node: Node, inputs: Inputs): Tensor {
  const { codes, scale, zeroPoint } = quantizeDynamically(required(node, inputs, 0));
  const [, right = null, rightScale = null, rightZeroPoint = null, bias = null] = inputs;
  return emulatedMatMulIntegerToFloat(node, [codes, right, scale, rightScale, zeroPoint, rightZeroPoint, bias]);
}

/** Inputs: a, a_scale, a_zero_point, b, b_scale, b_zero_point, bias in int32, y_scale, y_zero_point. Float output without the last two. */
export function emulatedQGemm(node: Node, inputs: Inputs): Tensor {
  const { sums, dims, columns } = integerSums(node, {
    left: required(node, inputs, 0),
    leftZeroPoint: scalarOf(inputs[2], 0),
    right: required(node, inputs, 3),
    rightZeroPoint: inputs[5],
    transposesLeft: intAttribute(node, 'transA', 0) === 1,
    transposesRight: intAttribute(node, 'transB', 0) === 1,
  });
  if (inputs[6]) addBroadcast(sums, dims, inputs[6]);
  const aScale = Math.fround(Math.fround(floatAttribute(node, 'alpha', 1)) * scalarOf(inputs[1], 1));
  const scales = Float32Array.from(perChannel(node, inputs[4], columns, 1), (scale) => aScale * scale);
  const zeroPoint = inputs[8];
  if (!inputs[7] || !zeroPoint) return float32Tensor(dims, scaleToFloat(sums, columns, scales, null));
  const yScale = scalarOf(inputs[7], 1);
  const type = codeType(zeroPoint);
  const toCodes = { scales: scales.map((scale) => scale / yScale), bias: null, zeroPoint: scalarOf(zeroPoint, 0), type };
  return tensorOf(type, dims, requantize(sums, columns, toCodes));
}

/** Adds an int32 bias of shape [], [N], [1, N], [M, 1] or [M, N]. */
function addBroadcast(sums: Int32Array, [rows = 1, columns = 1]: readonly number[], bias: Tensor): void {
  const values = int32Values(bias);
  const [height, width] = [bias.dims.at(-2) ?? 1, bias.dims.at(-1) ?? 1];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const from = (height === 1 ? 0 : row) * width + (width === 1 ? 0 : column);
      sums[row * columns + column] = (sums[row * columns + column] ?? 0) + (values[from] ?? 0);
    }
  }
}
