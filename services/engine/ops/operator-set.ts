/** The operators the engine knows, with what rewrites need to know about each: total by type, never a list inside a pass. */
import type { Node } from '../ir/index.js';

/** What kind of computation an operator is. */
export type OperatorCategory =
  | 'attention'
  /** every element along an axis depends on the others */
  | 'axis-function'
  /** sequences, optionals and maps */
  | 'container'
  | 'control-flow'
  /** copies elements, computes none */
  | 'data-movement'
  /** each output element depends on the input elements at its place (after broadcasting) */
  | 'elementwise'
  /** makes values from attributes and sizes */
  | 'generator'
  | 'indexing'
  | 'kernel-machine'
  | 'linear'
  | 'loss'
  | 'matrix'
  | 'normalization'
  | 'pooling'
  | 'quantization'
  /** not deterministic */
  | 'random'
  | 'recurrent'
  | 'reduction'
  | 'resampling'
  /** reads the shape of its input, not its elements */
  | 'shape'
  | 'text'
  | 'tree';

export interface OperatorTraits {
  /** First version of its operator set that has the operator. */
  readonly since: number;
  readonly category: OperatorCategory;
}

function traits<Category extends OperatorCategory>(since: number, category: Category): OperatorTraits & { readonly category: Category } {
  return { since, category };
}

/** ai.onnx up to version 26: https://onnx.ai/onnx/operators. Extracted from onnx.defs of onnx 1.23, categories by hand. */
export const onnxOperators = {
  Abs: traits(1, 'elementwise'),
  Acos: traits(7, 'elementwise'),
  Acosh: traits(9, 'elementwise'),
  Add: traits(1, 'elementwise'),
  AffineGrid: traits(20, 'resampling'),
  And: traits(1, 'elementwise'),
  ArgMax: traits(1, 'reduction'),
  ArgMin: traits(1, 'reduction'),
  Asin: traits(7, 'elementwise'),
  Asinh: traits(9, 'elementwise'),
  Atan: traits(7, 'elementwise'),
  Atanh: traits(9, 'elementwise'),
  Attention: traits(23, 'attention'),
  AveragePool: traits(1, 'pooling'),
  BatchNormalization: traits(1, 'normalization'),
  Bernoulli: traits(15, 'random'),
  BitCast: traits(26, 'elementwise'),
  BitShift: traits(11, 'elementwise'),
  BitwiseAnd: traits(18, 'elementwise'),
  BitwiseNot: traits(18, 'elementwise'),
  BitwiseOr: traits(18, 'elementwise'),
  BitwiseXor: traits(18, 'elementwise'),
  BlackmanWindow: traits(17, 'generator'),
  Cast: traits(1, 'elementwise'),
  CastLike: traits(15, 'elementwise'),
  Ceil: traits(1, 'elementwise'),
  Celu: traits(12, 'elementwise'),
  CenterCropPad: traits(18, 'data-movement'),
  Clip: traits(1, 'elementwise'),
  Col2Im: traits(18, 'resampling'),
  Compress: traits(9, 'data-movement'),
  Concat: traits(1, 'data-movement'),
  ConcatFromSequence: traits(11, 'container'),
  Constant: traits(1, 'generator'),
  ConstantOfShape: traits(9, 'generator'),
  Conv: traits(1, 'linear'),
  ConvInteger: traits(10, 'linear'),
  ConvTranspose: traits(1, 'linear'),
  Cos: traits(7, 'elementwise'),
  Cosh: traits(9, 'elementwise'),
  CumProd: traits(26, 'axis-function'),
  CumSum: traits(11, 'axis-function'),
  DFT: traits(17, 'linear'),
  DeformConv: traits(19, 'linear'),
  DepthToSpace: traits(1, 'data-movement'),
  DequantizeLinear: traits(10, 'quantization'),
  Det: traits(11, 'reduction'),
  Div: traits(1, 'elementwise'),
  Dropout: traits(1, 'elementwise'),
  DynamicQuantizeLinear: traits(11, 'quantization'),
  Einsum: traits(12, 'linear'),
  Elu: traits(1, 'elementwise'),
  Equal: traits(1, 'elementwise'),
  Erf: traits(9, 'elementwise'),
  Exp: traits(1, 'elementwise'),
  Expand: traits(8, 'data-movement'),
  EyeLike: traits(9, 'generator'),
  Flatten: traits(1, 'data-movement'),
  Floor: traits(1, 'elementwise'),
  GRU: traits(1, 'recurrent'),
  Gather: traits(1, 'data-movement'),
  GatherElements: traits(11, 'data-movement'),
  GatherND: traits(11, 'data-movement'),
  Gelu: traits(20, 'elementwise'),
  Gemm: traits(1, 'linear'),
  GlobalAveragePool: traits(1, 'pooling'),
  GlobalLpPool: traits(1, 'pooling'),
  GlobalMaxPool: traits(1, 'pooling'),
  Greater: traits(1, 'elementwise'),
  GreaterOrEqual: traits(12, 'elementwise'),
  GridSample: traits(16, 'resampling'),
  GroupNormalization: traits(18, 'normalization'),
  HammingWindow: traits(17, 'generator'),
  HannWindow: traits(17, 'generator'),
  HardSigmoid: traits(1, 'elementwise'),
  HardSwish: traits(14, 'elementwise'),
  Hardmax: traits(1, 'axis-function'),
  Identity: traits(1, 'data-movement'),
  If: traits(1, 'control-flow'),
  ImageDecoder: traits(20, 'resampling'),
  InstanceNormalization: traits(1, 'normalization'),
  IsInf: traits(10, 'elementwise'),
  IsNaN: traits(9, 'elementwise'),
  LRN: traits(1, 'normalization'),
  LSTM: traits(1, 'recurrent'),
  LayerNormalization: traits(17, 'normalization'),
  LeakyRelu: traits(1, 'elementwise'),
  Less: traits(1, 'elementwise'),
  LessOrEqual: traits(12, 'elementwise'),
  Log: traits(1, 'elementwise'),
  LogSoftmax: traits(1, 'axis-function'),
  Loop: traits(1, 'control-flow'),
  LpNormalization: traits(1, 'normalization'),
  LpPool: traits(1, 'pooling'),
  MatMul: traits(1, 'linear'),
  MatMulInteger: traits(10, 'linear'),
  Max: traits(1, 'elementwise'),
  MaxPool: traits(1, 'pooling'),
  MaxRoiPool: traits(1, 'pooling'),
  MaxUnpool: traits(9, 'pooling'),
  Mean: traits(1, 'elementwise'),
  MeanVarianceNormalization: traits(9, 'normalization'),
  MelWeightMatrix: traits(17, 'generator'),
  Min: traits(1, 'elementwise'),
  Mish: traits(18, 'elementwise'),
  Mod: traits(10, 'elementwise'),
  Mul: traits(1, 'elementwise'),
  Multinomial: traits(7, 'random'),
  Neg: traits(1, 'elementwise'),
  NegativeLogLikelihoodLoss: traits(12, 'loss'),
  NonMaxSuppression: traits(10, 'indexing'),
  NonZero: traits(9, 'indexing'),
  Not: traits(1, 'elementwise'),
  OneHot: traits(9, 'indexing'),
  Optional: traits(15, 'container'),
  OptionalGetElement: traits(15, 'container'),
  OptionalHasElement: traits(15, 'container'),
  Or: traits(1, 'elementwise'),
  PRelu: traits(1, 'elementwise'),
  Pad: traits(1, 'data-movement'),
  Pow: traits(1, 'elementwise'),
  QLinearConv: traits(10, 'linear'),
  QLinearMatMul: traits(10, 'linear'),
  QuantizeLinear: traits(10, 'quantization'),
  RMSNormalization: traits(23, 'normalization'),
  RNN: traits(1, 'recurrent'),
  RandomNormal: traits(1, 'random'),
  RandomNormalLike: traits(1, 'random'),
  RandomUniform: traits(1, 'random'),
  RandomUniformLike: traits(1, 'random'),
  Range: traits(11, 'generator'),
  Reciprocal: traits(1, 'elementwise'),
  ReduceL1: traits(1, 'reduction'),
  ReduceL2: traits(1, 'reduction'),
  ReduceLogSum: traits(1, 'reduction'),
  ReduceLogSumExp: traits(1, 'reduction'),
  ReduceMax: traits(1, 'reduction'),
  ReduceMean: traits(1, 'reduction'),
  ReduceMin: traits(1, 'reduction'),
  ReduceProd: traits(1, 'reduction'),
  ReduceSum: traits(1, 'reduction'),
  ReduceSumSquare: traits(1, 'reduction'),
  RegexFullMatch: traits(20, 'text'),
  Relu: traits(1, 'elementwise'),
  Reshape: traits(1, 'data-movement'),
  Resize: traits(10, 'resampling'),
  ReverseSequence: traits(10, 'data-movement'),
  RoiAlign: traits(10, 'pooling'),
  RotaryEmbedding: traits(23, 'axis-function'),
  Round: traits(11, 'elementwise'),
  STFT: traits(17, 'linear'),
  Scan: traits(8, 'control-flow'),
  Scatter: traits(9, 'data-movement'),
  ScatterElements: traits(11, 'data-movement'),
  ScatterND: traits(11, 'data-movement'),
  Selu: traits(1, 'elementwise'),
  SequenceAt: traits(11, 'container'),
  SequenceConstruct: traits(11, 'container'),
  SequenceEmpty: traits(11, 'container'),
  SequenceErase: traits(11, 'container'),
  SequenceInsert: traits(11, 'container'),
  SequenceLength: traits(11, 'container'),
  SequenceMap: traits(17, 'control-flow'),
  Shape: traits(1, 'shape'),
  Shrink: traits(9, 'elementwise'),
  Sigmoid: traits(1, 'elementwise'),
  Sign: traits(9, 'elementwise'),
  Sin: traits(7, 'elementwise'),
  Sinh: traits(9, 'elementwise'),
  Size: traits(1, 'shape'),
  Slice: traits(1, 'data-movement'),
  Softmax: traits(1, 'axis-function'),
  SoftmaxCrossEntropyLoss: traits(12, 'loss'),
  Softplus: traits(1, 'elementwise'),
  Softsign: traits(1, 'elementwise'),
  SpaceToDepth: traits(1, 'data-movement'),
  Split: traits(1, 'data-movement'),
  SplitToSequence: traits(11, 'container'),
  Sqrt: traits(1, 'elementwise'),
  Squeeze: traits(1, 'data-movement'),
  StringConcat: traits(20, 'text'),
  StringNormalizer: traits(10, 'text'),
  StringSplit: traits(20, 'text'),
  Sub: traits(1, 'elementwise'),
  Sum: traits(1, 'elementwise'),
  Swish: traits(24, 'elementwise'),
  Tan: traits(7, 'elementwise'),
  Tanh: traits(1, 'elementwise'),
  TensorScatter: traits(24, 'data-movement'),
  TfIdfVectorizer: traits(9, 'text'),
  ThresholdedRelu: traits(10, 'elementwise'),
  Tile: traits(1, 'data-movement'),
  TopK: traits(1, 'indexing'),
  Transpose: traits(1, 'data-movement'),
  Trilu: traits(14, 'data-movement'),
  Unique: traits(11, 'indexing'),
  Unsqueeze: traits(1, 'data-movement'),
  Upsample: traits(1, 'resampling'),
  Where: traits(9, 'elementwise'),
  Xor: traits(1, 'elementwise'),
  // Not in the specification; onnxruntime registers it in the ONNX domain.
  SimplifiedLayerNormalization: traits(1, 'normalization'),
} as const satisfies Record<string, OperatorTraits>;

/** ai.onnx.ml up to version 5. */
export const machineLearningOperators = {
  ArrayFeatureExtractor: traits(1, 'data-movement'),
  Binarizer: traits(1, 'elementwise'),
  CastMap: traits(1, 'container'),
  CategoryMapper: traits(1, 'text'),
  DictVectorizer: traits(1, 'container'),
  FeatureVectorizer: traits(1, 'data-movement'),
  Imputer: traits(1, 'elementwise'),
  LabelEncoder: traits(1, 'text'),
  LinearClassifier: traits(1, 'linear'),
  LinearRegressor: traits(1, 'linear'),
  Normalizer: traits(1, 'normalization'),
  OneHotEncoder: traits(1, 'indexing'),
  SVMClassifier: traits(1, 'kernel-machine'),
  SVMRegressor: traits(1, 'kernel-machine'),
  Scaler: traits(1, 'elementwise'),
  TreeEnsemble: traits(5, 'tree'),
  TreeEnsembleClassifier: traits(1, 'tree'),
  TreeEnsembleRegressor: traits(1, 'tree'),
  ZipMap: traits(1, 'container'),
} as const satisfies Record<string, OperatorTraits>;

/** com.microsoft: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md */
export const microsoftOperators = {
  Attention: traits(1, 'attention'),
  AttnLSTM: traits(1, 'recurrent'),
  BeamSearch: traits(1, 'control-flow'),
  BiasAdd: traits(1, 'elementwise'),
  BiasGelu: traits(1, 'elementwise'),
  BiasSoftmax: traits(1, 'axis-function'),
  BiasSplitGelu: traits(1, 'elementwise'),
  BifurcationDetector: traits(1, 'indexing'),
  BitmaskDropout: traits(1, 'elementwise'),
  ConvTransposeWithDynamicPads: traits(1, 'linear'),
  CropAndResize: traits(1, 'resampling'),
  DecoderAttention: traits(1, 'attention'),
  DecoderMaskedMultiHeadAttention: traits(1, 'attention'),
  DecoderMaskedSelfAttention: traits(1, 'attention'),
  DequantizeBFP: traits(1, 'quantization'),
  DequantizeLinear: traits(1, 'quantization'),
  DynamicQuantizeLSTM: traits(1, 'recurrent'),
  DynamicQuantizeMatMul: traits(1, 'linear'),
  EmbedLayerNormalization: traits(1, 'normalization'),
  ExpandDims: traits(1, 'data-movement'),
  FastGelu: traits(1, 'elementwise'),
  FusedConv: traits(1, 'linear'),
  FusedGemm: traits(1, 'linear'),
  FusedMatMul: traits(1, 'linear'),
  GatherBlockQuantized: traits(1, 'data-movement'),
  GatherND: traits(1, 'data-movement'),
  Gelu: traits(1, 'elementwise'),
  GreedySearch: traits(1, 'control-flow'),
  GridSample: traits(1, 'resampling'),
  GroupNorm: traits(1, 'normalization'),
  GroupQueryAttention: traits(1, 'attention'),
  Inverse: traits(1, 'matrix'),
  Irfft: traits(1, 'linear'),
  MatMulBnb4: traits(1, 'linear'),
  MatMulFpQ4: traits(1, 'linear'),
  MatMulInteger16: traits(1, 'linear'),
  MatMulIntegerToFloat: traits(1, 'linear'),
  MatMulNBits: traits(1, 'linear'),
  MaxpoolWithMask: traits(1, 'pooling'),
  MoE: traits(1, 'linear'),
  MultiHeadAttention: traits(1, 'attention'),
  MurmurHash3: traits(1, 'text'),
  NGramRepeatBlock: traits(1, 'indexing'),
  NhwcFusedConv: traits(1, 'linear'),
  NhwcMaxPool: traits(1, 'pooling'),
  PackedAttention: traits(1, 'attention'),
  PackedMultiHeadAttention: traits(1, 'attention'),
  Pad: traits(1, 'data-movement'),
  QAttention: traits(1, 'attention'),
  QEmbedLayerNormalization: traits(1, 'normalization'),
  QGemm: traits(1, 'linear'),
  QLinearAdd: traits(1, 'elementwise'),
  QLinearAveragePool: traits(1, 'pooling'),
  QLinearConcat: traits(1, 'data-movement'),
  QLinearConv: traits(1, 'linear'),
  QLinearGlobalAveragePool: traits(1, 'pooling'),
  QLinearLeakyRelu: traits(1, 'elementwise'),
  QLinearMul: traits(1, 'elementwise'),
  QLinearReduceMean: traits(1, 'reduction'),
  QLinearSigmoid: traits(1, 'elementwise'),
  QLinearSoftmax: traits(1, 'axis-function'),
  QLinearWhere: traits(1, 'elementwise'),
  QMoE: traits(1, 'linear'),
  QuantizeBFP: traits(1, 'quantization'),
  QuantizeLinear: traits(1, 'quantization'),
  QuickGelu: traits(1, 'elementwise'),
  Range: traits(1, 'generator'),
  Rfft: traits(1, 'linear'),
  RotaryEmbedding: traits(1, 'axis-function'),
  Sampling: traits(1, 'control-flow'),
  SkipGroupNorm: traits(1, 'normalization'),
  SkipLayerNormalization: traits(1, 'normalization'),
  SkipSimplifiedLayerNormalization: traits(1, 'normalization'),
  SparseAttention: traits(1, 'attention'),
  SparseToDenseMatMul: traits(1, 'linear'),
  Tokenizer: traits(1, 'text'),
  Trilu: traits(1, 'data-movement'),
  Unique: traits(1, 'indexing'),
  WhisperBeamSearch: traits(1, 'control-flow'),
  WordConvEmbedding: traits(1, 'text'),
} as const satisfies Record<string, OperatorTraits>;

const operatorsByDomain = new Map<string, ReadonlyMap<string, OperatorTraits>>([
  ['', new Map(Object.entries(onnxOperators))],
  ['ai.onnx.ml', new Map(Object.entries(machineLearningOperators))],
  ['com.microsoft', new Map(Object.entries(microsoftOperators))],
]);

/** undefined for an operator the engine does not know: a custom operator, or a function of the model. */
export function operatorTraits(domain: string, opType: string): OperatorTraits | undefined {
  return operatorsByDomain.get(domain)?.get(opType);
}

export function isKnownDomain(domain: string): boolean {
  return operatorsByDomain.has(domain);
}

export function isElementwise(node: Node): boolean {
  return categoryOf(node) === 'elementwise';
}

export function isDataMovement(node: Node): boolean {
  return categoryOf(node) === 'data-movement';
}

export function isControlFlow(node: Node): boolean {
  return categoryOf(node) === 'control-flow';
}

/**
 * True when the same inputs always give the same outputs, so that two such nodes may be merged and one with constant
 * inputs may be computed once. Unknown operators are not: they may draw random numbers or keep state.
 */
export function isDeterministic(node: Node): boolean {
  const category = categoryOf(node);
  if (!category || category === 'random') return false;
  if (node.domain === '' && node.opType === 'Dropout') return isInferenceDropout(node);
  // Sampling and beam search of com.microsoft draw random numbers without saying so in their graphs.
  if (category === 'control-flow' && node.domain !== '') return false;
  return node.subgraphs.every((subgraph) => subgraph.nodes.every(isDeterministic));
}

/** Dropout has the input training_mode since version 12 (absent means false); before, it never drops outside training. */
function isInferenceDropout(node: Node): boolean {
  return !node.inputs[2];
}

function categoryOf(node: Node): OperatorCategory | undefined {
  return operatorTraits(node.domain, node.opType)?.category;
}
