/** What each operator can do in 16 bit floats: total over the ONNX operators that the engine knows. */
import type { Node } from '../../ir/index.js';
import type { onnxOperators } from '../../ops/index.js';
import type { HalfType } from './half-format.js';

/** First versions of the operator set in which all its float operands, but for those that are kept, may have the type; null: none. */
interface Versions {
  readonly float16: number | null;
  readonly bfloat16: number | null;
}

interface Operands {
  /** Inputs and outputs that are float32 in every form of the operator. */
  readonly inputs?: readonly number[];
  readonly outputs?: readonly number[];
}

export type HalfRule =
  /** 'computes': worth computing in half. 'follows': computes nothing, so it takes the type in which its data come. */
  | { readonly kind: 'computes' | 'follows'; readonly since: Versions; readonly kept: Required<Operands> }
  /** Says in an attribute what type it makes. */
  | { readonly kind: 'conversion' | 'source' }
  | { readonly kind: 'stays'; readonly reason: string };

const rule =
  (kind: 'computes' | 'follows') =>
  (float16: number | null, bfloat16: number | null, kept: Operands = {}): HalfRule => ({
    kind,
    since: { float16, bfloat16 },
    kept: { inputs: [], outputs: [], ...kept },
  });
const computes = rule('computes');
const follows = rule('follows');
const stays = (reason: string): HalfRule => ({ kind: 'stays', reason });
const conversion: HalfRule = { kind: 'conversion' };
const source: HalfRule = { kind: 'source' };

/** The list of onnxconverter-common: operators that many runtimes have in float32 only, or that select by small differences. */
const blocked = 'many runtimes have it in float32 only, or 16 bits change what it selects';
const border = 'the values that enter and leave its branches keep their types';
const container = 'sequences and optional values keep their types';
const quantized = 'it belongs to quantized layers, which keep their scales in float32';
const generator = 'it makes its values; a Cast behind it is as good';
const transform = 'its long sums lose too much in 16 bits';
const undefinedInHalf = 'it is not defined for this type';

/** Versions extracted from onnx.defs of onnx 1.23; blocked operators from onnxconverter-common (float16.py). */
const onnxRules: Readonly<Record<keyof typeof onnxOperators, HalfRule>> = {
  Abs: computes(1, 13),
  Acos: computes(7, 22),
  Acosh: computes(9, 22),
  Add: computes(1, 13),
  AffineGrid: computes(20, 20),
  And: stays(undefinedInHalf),
  ArgMax: follows(1, 13),
  ArgMin: follows(1, 13),
  Asin: computes(7, 22),
  Asinh: computes(9, 22),
  Atan: computes(7, 22),
  Atanh: computes(9, 22),
  Attention: computes(23, 23),
  AveragePool: computes(1, 22),
  BatchNormalization: computes(1, 14),
  Bernoulli: stays(generator),
  BitCast: stays(generator),
  BitShift: stays(undefinedInHalf),
  BitwiseAnd: stays(undefinedInHalf),
  BitwiseNot: stays(undefinedInHalf),
  BitwiseOr: stays(undefinedInHalf),
  BitwiseXor: stays(undefinedInHalf),
  BlackmanWindow: stays(generator),
  Cast: conversion,
  CastLike: conversion,
  Ceil: computes(1, 13),
  Celu: stays(undefinedInHalf),
  CenterCropPad: follows(18, 18),
  Clip: computes(1, 13),
  Col2Im: computes(18, 18),
  Compress: follows(9, null),
  Concat: follows(1, 13),
  ConcatFromSequence: stays(container),
  Constant: source,
  ConstantOfShape: source,
  Conv: computes(1, 22),
  ConvInteger: stays(quantized),
  ConvTranspose: computes(1, 22),
  Cos: computes(7, 22),
  Cosh: computes(9, 22),
  CumProd: stays(blocked),
  CumSum: stays(blocked),
  DFT: stays(transform),
  DeformConv: computes(19, 22),
  DepthToSpace: follows(1, 13),
  DequantizeLinear: stays(quantized),
  Det: computes(11, 22),
  Div: computes(1, 13),
  Dropout: follows(1, 13, { inputs: [1] }),
  DynamicQuantizeLinear: stays(quantized),
  Einsum: computes(12, null),
  Elu: computes(1, 22),
  Equal: follows(11, 13),
  Erf: computes(9, 13),
  Exp: computes(1, 13),
  Expand: follows(8, 13),
  EyeLike: stays(generator),
  Flatten: follows(1, 13),
  Floor: computes(1, 13),
  GRU: computes(1, 22),
  Gather: follows(1, 13),
  GatherElements: follows(11, 13),
  GatherND: follows(11, 13),
  Gelu: computes(20, 20),
  Gemm: computes(1, 13),
  GlobalAveragePool: computes(1, 22),
  GlobalLpPool: computes(1, 22),
  GlobalMaxPool: follows(1, 22),
  Greater: follows(1, 13),
  GreaterOrEqual: follows(12, 16),
  GridSample: computes(16, 22),
  GroupNormalization: computes(18, 21),
  HammingWindow: stays(generator),
  HannWindow: stays(generator),
  HardSigmoid: computes(1, 22),
  HardSwish: computes(14, 22),
  Hardmax: computes(1, 13),
  Identity: follows(1, 13),
  If: stays(border),
  ImageDecoder: stays(undefinedInHalf),
  InstanceNormalization: computes(1, 22),
  IsInf: follows(20, 20),
  IsNaN: follows(9, 13),
  LRN: computes(1, 13),
  LSTM: computes(1, 22),
  LayerNormalization: computes(17, 17, { outputs: [1, 2] }),
  LeakyRelu: computes(1, 16),
  Less: follows(1, 13),
  LessOrEqual: follows(12, 16),
  Log: computes(1, 13),
  LogSoftmax: computes(1, 13),
  Loop: stays(border),
  LpNormalization: computes(1, 22),
  LpPool: computes(1, 22),
  MatMul: computes(1, 13),
  MatMulInteger: stays(quantized),
  Max: stays(blocked),
  MaxPool: follows(1, 22),
  MaxRoiPool: stays(blocked),
  MaxUnpool: computes(9, 22),
  Mean: computes(1, 13),
  MeanVarianceNormalization: computes(9, 13),
  MelWeightMatrix: stays(generator),
  Min: stays(blocked),
  Mish: computes(18, 22),
  Mod: computes(10, 13),
  Mul: computes(1, 13),
  Multinomial: stays(generator),
  Neg: computes(1, 13),
  NegativeLogLikelihoodLoss: computes(12, 22),
  NonMaxSuppression: stays(blocked),
  NonZero: follows(9, 13),
  Not: stays(undefinedInHalf),
  OneHot: follows(9, null),
  Optional: stays(container),
  OptionalGetElement: stays(container),
  OptionalHasElement: stays(container),
  Or: stays(undefinedInHalf),
  PRelu: computes(1, 16),
  Pad: follows(1, 13),
  Pow: computes(1, 13),
  QLinearConv: stays(quantized),
  QLinearMatMul: stays(quantized),
  QuantizeLinear: stays(quantized),
  RMSNormalization: computes(23, 23),
  RNN: computes(1, 22),
  RandomNormal: stays(generator),
  RandomNormalLike: stays(generator),
  RandomUniform: stays(generator),
  RandomUniformLike: stays(generator),
  Range: stays(blocked),
  Reciprocal: computes(1, 13),
  ReduceL1: computes(1, 13),
  ReduceL2: computes(1, 13),
  ReduceLogSum: computes(1, 13),
  ReduceLogSumExp: computes(1, 13),
  ReduceMax: computes(1, 13),
  ReduceMean: computes(1, 13),
  ReduceMin: computes(1, 13),
  ReduceProd: computes(1, 13),
  ReduceSum: computes(1, 13),
  ReduceSumSquare: computes(1, 13),
  RegexFullMatch: stays(undefinedInHalf),
  Relu: computes(1, 13),
  Reshape: follows(1, 13),
  Resize: computes(10, 13, { inputs: [1, 2] }),
  ReverseSequence: follows(10, null),
  RoiAlign: stays(blocked),
  RotaryEmbedding: computes(23, 23),
  Round: computes(11, 22),
  STFT: stays(transform),
  Scan: stays(border),
  Scatter: follows(9, null),
  ScatterElements: follows(11, 13),
  ScatterND: follows(11, 13),
  Selu: computes(1, 22),
  SequenceAt: stays(container),
  SequenceConstruct: stays(container),
  SequenceEmpty: stays(container),
  SequenceErase: stays(container),
  SequenceInsert: stays(container),
  SequenceLength: stays(container),
  SequenceMap: stays(border),
  Shape: follows(1, 13),
  Shrink: computes(9, null),
  Sigmoid: computes(1, 13),
  Sign: follows(9, 13),
  Sin: computes(7, 22),
  Sinh: computes(9, 22),
  Size: follows(1, 13),
  Slice: follows(1, 13),
  Softmax: computes(1, 13),
  SoftmaxCrossEntropyLoss: computes(12, 13),
  Softplus: computes(1, 22),
  Softsign: computes(1, 22),
  SpaceToDepth: follows(1, 13),
  Split: follows(1, 13),
  SplitToSequence: stays(container),
  Sqrt: computes(1, 13),
  Squeeze: follows(1, 13),
  StringConcat: stays(undefinedInHalf),
  StringNormalizer: stays(undefinedInHalf),
  StringSplit: stays(undefinedInHalf),
  Sub: computes(1, 13),
  Sum: computes(1, 13),
  Swish: computes(24, 24),
  Tan: computes(7, 22),
  Tanh: computes(1, 13),
  TensorScatter: follows(24, 24),
  TfIdfVectorizer: stays(undefinedInHalf),
  ThresholdedRelu: computes(10, 22),
  Tile: follows(1, 13),
  TopK: stays(blocked),
  Transpose: follows(1, 13),
  Trilu: follows(14, 14),
  Unique: follows(11, null),
  Unsqueeze: follows(1, 13),
  Upsample: stays(blocked),
  Where: follows(9, 16),
  Xor: stays(undefinedInHalf),
  SimplifiedLayerNormalization: computes(1, 1),
};

/** com.microsoft operators of one float type (ContribOperators.md); GroupNorm takes gamma and beta in float32. */
const microsoftRules: Readonly<Record<string, HalfRule>> = {
  Attention: computes(1, null),
  BiasAdd: computes(1, null),
  BiasGelu: computes(1, null),
  BiasSplitGelu: computes(1, null),
  FastGelu: computes(1, 1),
  FusedMatMul: computes(1, 1),
  Gelu: computes(1, null),
  GroupNorm: computes(1, null, { inputs: [1, 2] }),
  MultiHeadAttention: computes(1, null),
  QuickGelu: computes(1, 1),
  RotaryEmbedding: computes(1, 1),
  SkipGroupNorm: computes(1, null, { inputs: [1, 2] }),
  SkipLayerNormalization: computes(1, null, { outputs: [1, 2] }),
  SkipSimplifiedLayerNormalization: computes(1, null, { outputs: [1, 2] }),
};

const unknown = stays('it is not known what it does with 16 bit floats');

export function halfRule({ domain, opType }: Pick<Node, 'domain' | 'opType'>): HalfRule {
  const rules: Readonly<Record<string, HalfRule>> = domain === '' ? onnxRules : domain === 'com.microsoft' ? microsoftRules : {};
  return Object.hasOwn(rules, opType) ? (rules[opType] ?? unknown) : unknown;
}

/** Operands of the node that are float32 whatever the rest is. */
export function isKeptInput(rule: HalfRule, index: number): boolean {
  return (rule.kind !== 'computes' && rule.kind !== 'follows') || rule.kept.inputs.includes(index);
}

export function isKeptOutput(rule: HalfRule, index: number): boolean {
  return (rule.kind !== 'computes' && rule.kind !== 'follows') || rule.kept.outputs.includes(index);
}

/** Whether the operator takes the type in this version of the operator set. */
export function isDefinedIn(rule: HalfRule, type: HalfType, opset: number): boolean {
  if (rule.kind !== 'computes' && rule.kind !== 'follows') return false;
  const since = rule.since[type];
  return since !== null && opset >= since;
}
