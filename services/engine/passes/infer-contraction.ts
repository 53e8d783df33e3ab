/** Fact inference for products, convolutions, pooling, reductions, normalization and recurrent operators. */
import { intAttribute, intsAttribute, type Node, stringAttribute } from '../ir/index.js';
import type { InferenceRule } from './infer-rule.js';
import { axesOperand, axisAttribute } from './operand-forms.js';
import { allNumbers, broadcastShapes, type Extent, freshSize, normalizeAxis, type ValueFact } from './value-facts.js';

function result(dataType: ValueFact['dataType'], shape: readonly Extent[] | null): ValueFact {
  return { dataType, shape, elements: null };
}

/** Shape of numpy.matmul. */
function matMulShape(left: readonly Extent[] | null, right: readonly Extent[] | null): readonly Extent[] | null {
  if (!left?.length || !right?.length) return null;
  const batch = broadcastShapes([left.slice(0, -2), right.slice(0, -2)]) ?? [];
  const rows = left.length > 1 ? [left.at(-2) ?? 1] : [];
  const columns = right.length > 1 ? [right.at(-1) ?? 1] : [];
  return [...batch, ...rows, ...columns];
}

const matMul: InferenceRule = (node, view) => {
  const [left, right] = [view.fact(node.inputs[0]), view.fact(node.inputs[1])];
  return [result(left.dataType ?? right.dataType, matMulShape(left.shape, right.shape))];
};

const gemm: InferenceRule = (node, view) => {
  const [left, right] = [view.fact(node.inputs[0]), view.fact(node.inputs[1])];
  const rows = left.shape?.[intAttribute(node, 'transA', 0) ? 1 : 0] ?? freshSize();
  const columns = right.shape?.[intAttribute(node, 'transB', 0) ? 0 : 1] ?? freshSize();
  return [result(left.dataType, [rows, columns])];
};

export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begin of every spatial axis, then the ends. */
  readonly pads: readonly number[];
}

/** The sliding window of Conv, ConvTranspose or a pool; undefined when padding is automatic or the kernel is unknown. */
export function windowOf(node: Node, kernel: readonly number[] | undefined): Window | undefined {
  const autoPad = stringAttribute(node, 'auto_pad', 'NOTSET');
  if (!kernel || (autoPad !== 'NOTSET' && autoPad !== 'VALID')) return undefined;
  const ones = kernel.map(() => 1);
  const zeros = [...kernel, ...kernel].map(() => 0);
  return {
    kernel,
    strides: intsAttribute(node, 'strides', ones),
    dilations: intsAttribute(node, 'dilations', ones),
    pads: autoPad === 'VALID' ? zeros : intsAttribute(node, 'pads', zeros),
  };
}

/** out = floor((in + pads - dilation * (kernel - 1) - 1) / stride) + 1 (ONNX Conv). */
function slidExtents(spatial: readonly Extent[], window: Window | undefined, ceil = false): readonly Extent[] {
  return spatial.map((size, axis) => {
    if (!window || typeof size !== 'number') return freshSize();
    const padded = size + (window.pads[axis] ?? 0) + (window.pads[axis + spatial.length] ?? 0);
    const steps = (padded - (window.dilations[axis] ?? 1) * ((window.kernel[axis] ?? 1) - 1) - 1) / (window.strides[axis] ?? 1);
    return ceil ? freshSize() : Math.floor(steps) + 1;
  });
}

const conv: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const weight = view.fact(node.inputs[1]);
  const rank = data.shape?.length ?? weight.shape?.length;
  if (rank === undefined) return [result(data.dataType, null)];
  const taps = weight.shape?.slice(2) ?? null;
  const kernel = intsAttribute(node, 'kernel_shape', undefined) ?? (allNumbers(taps) ? taps : undefined);
  const spatial = data.shape ? slidExtents(data.shape.slice(2), windowOf(node, kernel)) : Array.from({ length: rank - 2 }, freshSize);
  return [result(data.dataType, [data.shape?.[0] ?? freshSize(), weight.shape?.[0] ?? freshSize(), ...spatial])];
};

/** out = stride * (in - 1) + output_padding + dilation * (kernel - 1) + 1 - pads (ONNX ConvTranspose). */
const convTranspose: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const weight = view.fact(node.inputs[1]);
  const taps = weight.shape?.slice(2) ?? null;
  if (!data.shape || !weight.shape) return [result(data.dataType, null)];
  const window = intsAttribute(node, 'output_shape', undefined) ? undefined : windowOf(node, allNumbers(taps) ? taps : undefined);
  const extra = intsAttribute(node, 'output_padding', undefined);
  const rank = data.shape.length - 2;
  const spatial = data.shape.slice(2).map((size, axis) => {
    if (!window || typeof size !== 'number') return freshSize();
    const reach = (window.dilations[axis] ?? 1) * ((window.kernel[axis] ?? 1) - 1) + 1;
    const cut = (window.pads[axis] ?? 0) + (window.pads[axis + rank] ?? 0);
    return (window.strides[axis] ?? 1) * (size - 1) + (extra?.[axis] ?? 0) + reach - cut;
  });
  const perGroup = weight.shape[1];
  const channels = typeof perGroup === 'number' ? perGroup * intAttribute(node, 'group', 1) : freshSize();
  return [result(data.dataType, [data.shape[0] ?? freshSize(), channels, ...spatial])];
};

const pool: InferenceRule = (node, view) => {
  const { dataType, shape } = view.fact(node.inputs[0]);
  const window = windowOf(node, intsAttribute(node, 'kernel_shape', undefined));
  const pooled = shape && [...shape.slice(0, 2), ...slidExtents(shape.slice(2), window, intAttribute(node, 'ceil_mode', 0) !== 0)];
  return [result(dataType, pooled), result('int64', pooled)];
};

const globalPool: InferenceRule = (node, view) => {
  const { dataType, shape } = view.fact(node.inputs[0]);
  return [result(dataType, shape && [...shape.slice(0, 2), ...shape.slice(2).map(() => 1)])];
};

/** Sizes after reducing `axes`; all axes when absent. */
function reducedShape(shape: readonly Extent[], axes: readonly number[] | 'absent', keepDims: boolean): readonly Extent[] {
  const reduced = new Set(axes === 'absent' || axes.length === 0 ? shape.keys() : axes.map((axis) => normalizeAxis(axis, shape.length)));
  if (keepDims) return shape.map((size, axis) => (reduced.has(axis) ? 1 : size));
  return shape.filter((_, axis) => !reduced.has(axis));
}

const reduce: InferenceRule = (node, view) => {
  const { dataType, shape } = view.fact(node.inputs[0]);
  const axes = axesOperand(node, 1, view);
  const isNoop = intAttribute(node, 'noop_with_empty_axes', 0) !== 0 && (axes === 'absent' || axes?.length === 0);
  if (isNoop) return [result(dataType, shape)];
  if (!shape || axes === undefined) return [result(dataType, null)];
  return [result(dataType, reducedShape(shape, axes, intAttribute(node, 'keepdims', 1) !== 0))];
};

const argReduce: InferenceRule = (node, view) => {
  const { shape } = view.fact(node.inputs[0]);
  const keepDims = intAttribute(node, 'keepdims', 1) !== 0;
  return [result('int64', shape && reducedShape(shape, [intAttribute(node, 'axis', 0)], keepDims))];
};

const topK: InferenceRule = (node, view) => {
  const { dataType, shape } = view.fact(node.inputs[0]);
  if (!shape) return [result(dataType, null), result('int64', null)];
  const axis = axisAttribute(node, -1, shape.length);
  const count = intAttribute(node, 'k', undefined) ?? view.integers(node.inputs[1])?.[0] ?? freshSize();
  const top = shape.map((size, at) => (at === axis ? count : size));
  return [result(dataType, top), result('int64', top)];
};

/** First output like the input, the rest (statistics, masks) unknown. */
const normalization: InferenceRule = (node, view) => {
  const { dataType, shape } = view.fact(node.inputs[0]);
  return [result(dataType, shape)];
};

/** GRU, LSTM and RNN: Y [seq, directions, batch, hidden], then final states [directions, batch, hidden] (layout 0). */
const recurrent: InferenceRule = (node, view) => {
  const data = view.fact(node.inputs[0]);
  const recurrence = view.fact(node.inputs[2]);
  if (!data.shape || intAttribute(node, 'layout', 0) !== 0) return node.outputs.map(() => result(data.dataType, null));
  const [sequence, batch] = [data.shape[0] ?? freshSize(), data.shape[1] ?? freshSize()];
  const directions = stringAttribute(node, 'direction', 'forward') === 'bidirectional' ? 2 : 1;
  const hidden = intAttribute(node, 'hidden_size', undefined) ?? recurrence.shape?.[2] ?? freshSize();
  const state = result(data.dataType, [directions, batch, hidden]);
  return [result(data.dataType, [sequence, directions, batch, hidden]), state, state];
};

const resize: InferenceRule = (node, view) => {
  const { dataType, shape } = view.fact(node.inputs[0]);
  const sizes = view.integers(node.inputs[3]);
  const plain = node.attributes.get('axes') === undefined && stringAttribute(node, 'keep_aspect_ratio_policy', 'stretch') === 'stretch';
  if (sizes && plain && sizes.length === shape?.length) return [result(dataType, sizes)];
  return [result(dataType, shape?.map(freshSize) ?? null)];
};

const matMulInteger: InferenceRule = (node, view) => [
  result('int32', matMulShape(view.fact(node.inputs[0]).shape, view.fact(node.inputs[1]).shape)),
];

const reductions = 'ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare';

export const contractionRules: Readonly<Record<string, InferenceRule>> = {
  ...Object.fromEntries(reductions.split(' ').map((opType) => [opType, reduce])),
  MatMul: matMul,
  Gemm: gemm,
  MatMulInteger: matMulInteger,
  Conv: conv,
  ConvTranspose: convTranspose,
  MaxPool: pool,
  AveragePool: pool,
  LpPool: (node, view) => pool(node, view).slice(0, 1),
  GlobalAveragePool: globalPool,
  GlobalMaxPool: globalPool,
  ArgMax: argReduce,
  ArgMin: argReduce,
  TopK: topK,
  BatchNormalization: normalization,
  LayerNormalization: normalization,
  RMSNormalization: normalization,
  GRU: recurrent,
  LSTM: recurrent,
  RNN: recurrent,
  Resize: resize,
  Upsample: resize,
  NonZero: (node, view) => [result('int64', [view.fact(node.inputs[0]).shape?.length ?? freshSize(), freshSize()])],
};
