/** One rule for each operator the engine knows: total by type. What has none freezes what it reads, and the report names it. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { type machineLearningOperators, type microsoftOperators, type onnxOperators, operatorTraits } from '../../../ops/operator-set.js';
import { type StructureScope, titleOf } from '../structure-scope.js';
import { attention, groupQueryAttention, multiHeadAttention, projectingAttention, rotaryEmbedding } from './attention.js';
import { depthToSpace, resize, spaceToDepth } from './blocks.js';
import { concat } from './concatenation.js';
import { conditional, loop } from './control-flow.js';
import { convolution, transposedConvolution } from './convolution.js';
import { gather, pad, slice, split } from './cutting.js';
import { einsum } from './einsum.js';
import { elementwise, passing, passingExcept } from './elementwise.js';
import { flatten, reshape, squeeze, transpose, unsqueeze } from './movement.js';
import { groupNormalization, instanceNormalization, lpNormalization, overLastAxes, perChannel } from './normalization.js';
import { ownAxis } from './own-axis.js';
import { fusedMatMul, gemm, matMul } from './product.js';
import { linearQuantization } from './quantization.js';
import { recurrent } from './recurrent.js';
import { argReduction, reduction } from './reduction.js';
import type { StructureRule } from './rule.js';
import { constantOfShape, expand, shape, tile } from './sizes.js';

/** Freezes what the node reads. */
const opaque: StructureRule = (node, scope) => scope.barrier(node, `${titleOf(node)} cannot be followed`);
/** Reads and makes no channels: what it reads must stay all the same. */
const quantized: StructureRule = (node, scope) => scope.barrier(node, `${titleOf(node)} is quantized already`);

const behindChannels = (rank: number): number[] => Array.from({ length: Math.max(0, rank - 2) }, (_, at) => at + 2);
const pooling = passingExcept((_, rank) => behindChannels(rank), 'slides over them');
const sampling = passingExcept((_, rank) => [0, ...behindChannels(rank)], 'samples from all of them');
const lastTwo = passingExcept((_, rank) => [rank - 2, rank - 1], 'cuts a triangle out of them');
const acrossChannels = passingExcept(() => [1], 'normalizes over its neighbours');

/** Before version 13 Softmax and its kin flatten all axes from `axis` on into one. */
const softmax: StructureRule = (node, scope) => {
  const isFlat = scope.facts.opset < 13;
  const axesOf = (each: Node, rank: number): number[] => {
    const axis = ownAxis(each, rank, isFlat ? 1 : -1);
    return isFlat ? Array.from({ length: rank - axis }, (_, at) => axis + at) : [axis];
  };
  passingExcept(axesOf, 'needs all of them')(node, scope);
};

/** The axis is input 1. */
const cumulative = passingExcept(() => null, 'adds them up');
const alongOwnAxis = (fallback: number): StructureRule =>
  passingExcept((node, rank) => [ownAxis(node, rank, fallback)], 'needs all of them');
const batchAndTime = passingExcept((node) => [intAttribute(node, 'batch_axis', 1), intAttribute(node, 'time_axis', 0)], 'turns them round');
const layerNormalization = overLastAxes({ added: [], parameters: [1, 2] });

const onnxRules: Readonly<Record<Exclude<keyof typeof onnxOperators, ElementwiseName>, StructureRule>> = {
  AffineGrid: opaque,
  ArgMax: argReduction,
  ArgMin: argReduction,
  Attention: attention,
  AveragePool: pooling,
  BatchNormalization: perChannel,
  Bernoulli: opaque,
  BlackmanWindow: opaque,
  CenterCropPad: opaque,
  Col2Im: opaque,
  Compress: opaque,
  Concat: concat,
  ConcatFromSequence: opaque,
  Constant: opaque,
  ConstantOfShape: constantOfShape,
  Conv: convolution,
  ConvInteger: quantized,
  ConvTranspose: transposedConvolution,
  CumProd: cumulative,
  CumSum: cumulative,
  DFT: opaque,
  DeformConv: opaque,
  DepthToSpace: depthToSpace,
  DequantizeLinear: linearQuantization,
  Det: opaque,
  DynamicQuantizeLinear: quantized,
  Einsum: einsum,
  Expand: expand,
  EyeLike: opaque,
  Flatten: flatten,
  GRU: recurrent,
  Gather: gather,
  GatherElements: opaque,
  GatherND: opaque,
  Gemm: gemm,
  GlobalAveragePool: pooling,
  GlobalLpPool: pooling,
  GlobalMaxPool: pooling,
  GridSample: sampling,
  GroupNormalization: groupNormalization,
  HammingWindow: opaque,
  HannWindow: opaque,
  Hardmax: softmax,
  Identity: passing,
  If: conditional,
  ImageDecoder: opaque,
  InstanceNormalization: instanceNormalization,
  LRN: acrossChannels,
  LSTM: recurrent,
  LayerNormalization: layerNormalization,
  LogSoftmax: softmax,
  Loop: loop,
  LpNormalization: lpNormalization,
  LpPool: pooling,
  MatMul: matMul,
  MatMulInteger: quantized,
  MaxPool: pooling,
  MaxRoiPool: sampling,
  MaxUnpool: opaque,
  MeanVarianceNormalization: opaque,
  MelWeightMatrix: opaque,
  Multinomial: opaque,
  NegativeLogLikelihoodLoss: opaque,
  NonMaxSuppression: opaque,
  NonZero: opaque,
  OneHot: opaque,
  Optional: opaque,
  OptionalGetElement: opaque,
  OptionalHasElement: opaque,
  Pad: pad,
  QLinearConv: quantized,
  QLinearMatMul: quantized,
  QuantizeLinear: linearQuantization,
  RMSNormalization: layerNormalization,
  RNN: recurrent,
  RandomNormal: opaque,
  RandomNormalLike: opaque,
  RandomUniform: opaque,
  RandomUniformLike: opaque,
  Range: opaque,
  ReduceL1: reduction('sum'),
  ReduceL2: reduction('sum'),
  ReduceLogSum: reduction('sum'),
  ReduceLogSumExp: reduction('whole'),
  ReduceMax: reduction('whole'),
  ReduceMean: reduction('mean'),
  ReduceMin: reduction('whole'),
  ReduceProd: reduction('whole'),
  ReduceSum: reduction('sum'),
  ReduceSumSquare: reduction('sum'),
  RegexFullMatch: opaque,
  Reshape: reshape,
  Resize: resize,
  ReverseSequence: batchAndTime,
  RoiAlign: sampling,
  RotaryEmbedding: rotaryEmbedding,
  STFT: opaque,
  Scan: loop,
  Scatter: opaque,
  ScatterElements: opaque,
  ScatterND: opaque,
  SequenceAt: opaque,
  SequenceConstruct: opaque,
  SequenceEmpty: opaque,
  SequenceErase: opaque,
  SequenceInsert: opaque,
  SequenceLength: opaque,
  SequenceMap: loop,
  Shape: shape,
  SimplifiedLayerNormalization: layerNormalization,
  Size: opaque,
  Slice: slice,
  Softmax: softmax,
  SoftmaxCrossEntropyLoss: opaque,
  SpaceToDepth: spaceToDepth,
  Split: split,
  SplitToSequence: opaque,
  Squeeze: squeeze,
  StringConcat: opaque,
  StringNormalizer: opaque,
  StringSplit: opaque,
  TensorScatter: opaque,
  TfIdfVectorizer: opaque,
  Tile: tile,
  TopK: alongOwnAxis(-1),
  Transpose: transpose,
  Trilu: lastTwo,
  Unique: opaque,
  Unsqueeze: unsqueeze,
  Upsample: resize,
};

type ElementwiseName = {
  [Name in keyof typeof onnxOperators]: (typeof onnxOperators)[Name]['category'] extends 'elementwise' ? Name : never;
}[keyof typeof onnxOperators];

const skipLayerNormalization = overLastAxes({ added: [1], parameters: [2, 3, 4] });
const skipRootMeanSquare = overLastAxes({ added: [1], parameters: [2, 3] });

const microsoftRules: Readonly<Partial<Record<keyof typeof microsoftOperators, StructureRule>>> = {
  Attention: projectingAttention,
  BiasAdd: elementwise,
  BiasGelu: elementwise,
  FastGelu: elementwise,
  FusedConv: opaque,
  FusedGemm: gemm,
  FusedMatMul: fusedMatMul,
  Gelu: elementwise,
  GridSample: sampling,
  GroupQueryAttention: groupQueryAttention,
  MultiHeadAttention: multiHeadAttention,
  QuickGelu: elementwise,
  DequantizeLinear: linearQuantization,
  QuantizeLinear: linearQuantization,
  RotaryEmbedding: rotaryEmbedding,
  SkipLayerNormalization: skipLayerNormalization,
  SkipSimplifiedLayerNormalization: skipRootMeanSquare,
};

const machineLearningRules: Readonly<Partial<Record<keyof typeof machineLearningOperators, StructureRule>>> = {};

const rulesByDomain = new Map<string, ReadonlyMap<string, StructureRule>>([
  ['', new Map(Object.entries(onnxRules))],
  ['com.microsoft', new Map(Object.entries(microsoftRules))],
  ['ai.onnx.ml', new Map(Object.entries(machineLearningRules))],
]);

function structureRule({ domain, opType }: Node): StructureRule {
  const own = rulesByDomain.get(domain)?.get(opType);
  if (own) return own;
  if (domain === '' && operatorTraits(domain, opType)?.category === 'elementwise') return elementwise;
  return opaque;
}

/** Applies the rule of the node's operator; one that is unknown, or lacks a rule, is a barrier. */
export function applyRule(node: Node, scope: StructureScope): void {
  structureRule(node)(node, scope);
}
