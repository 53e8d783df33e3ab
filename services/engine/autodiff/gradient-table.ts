/** How each operator is differentiated: total over the operator set, so that a new operator cannot be forgotten. */
import { dataTypes, intAttribute, type Node } from '../ir/index.js';
import type { microsoftOperators, onnxOperators } from '../ops/index.js';
import type { Differentiability, GradientRule } from './gradient-rule.js';
import { axisFunctionRules } from './rules/axis-functions.js';
import { controlFlowRules } from './rules/control-flow.js';
import { convolutionRules } from './rules/convolution.js';
import { einsumRules } from './rules/einsum.js';
import { binaryRules } from './rules/elementwise-binary.js';
import { unaryRules } from './rules/elementwise-unary.js';
import { gru } from './rules/gru.js';
import { indexingRules } from './rules/indexing.js';
import { localNormalizationRules } from './rules/local-normalization.js';
import { lpRules } from './rules/lp.js';
import { lstm } from './rules/lstm.js';
import { matrixRules } from './rules/matrix.js';
import { microsoftRules } from './rules/microsoft.js';
import { movementRules } from './rules/movement.js';
import { normalizationRules } from './rules/normalization.js';
import { paddingRules } from './rules/padding.js';
import { poolingRules } from './rules/pooling.js';
import { quantizationRules } from './rules/quantization.js';
import { reductionRules } from './rules/reduction.js';
import { resamplingRules } from './rules/resampling.js';
import { rnn } from './rules/rnn.js';
import { scanRules } from './rules/scan.js';

const pass: GradientRule = ({ gradients: [gradient] }) => [gradient];

const every = <Name extends string, Answer extends Differentiability>(answer: Answer, ...names: Name[]): Record<Name, Answer> =>
  Object.fromEntries(names.map((name) => [name, answer])) as Record<Name, Answer>;

/** Comparisons, rounding, indices, shapes, integers, text and random numbers. */
const constantOperators = every(
  'constant',
  ...(['And', 'ArgMax', 'ArgMin', 'Bernoulli', 'BitCast', 'BitShift', 'BitwiseAnd', 'BitwiseNot', 'BitwiseOr', 'BitwiseXor'] as const),
  ...(['BlackmanWindow', 'Ceil', 'Constant', 'ConstantOfShape', 'ConvInteger', 'DynamicQuantizeLinear', 'Equal', 'EyeLike'] as const),
  ...(['Floor', 'Greater', 'GreaterOrEqual', 'HammingWindow', 'HannWindow', 'Hardmax', 'ImageDecoder', 'IsInf', 'IsNaN', 'Less'] as const),
  ...(['LessOrEqual', 'MatMulInteger', 'MelWeightMatrix', 'Multinomial', 'NonMaxSuppression', 'NonZero', 'Not', 'OneHot', 'Or'] as const),
  ...(['QLinearConv', 'QLinearMatMul', 'RandomNormal', 'RandomNormalLike', 'RandomUniform', 'RandomUniformLike', 'Range'] as const),
  ...(['RegexFullMatch', 'Round', 'SequenceLength', 'Shape', 'Sign', 'Size', 'StringConcat', 'StringNormalizer', 'StringSplit'] as const),
  ...(['TfIdfVectorizer', 'Unique', 'Xor', 'OptionalHasElement'] as const),
);

const unsupportedOperators = every(
  'unsupported',
  ...(['AffineGrid', 'Attention', 'Col2Im', 'Compress', 'ConcatFromSequence', 'CumProd', 'DFT', 'DeformConv', 'Det'] as const),
  ...(['GridSample', 'Loop', 'MaxRoiPool', 'MaxUnpool', 'Mod', 'NegativeLogLikelihoodLoss', 'Optional', 'OptionalGetElement'] as const),
  ...(['RoiAlign', 'RotaryEmbedding', 'STFT', 'Scatter', 'SequenceAt', 'SequenceConstruct', 'SequenceEmpty'] as const),
  ...(['SequenceErase', 'SequenceInsert', 'SequenceMap', 'SoftmaxCrossEntropyLoss', 'SplitToSequence', 'TensorScatter'] as const),
  ...(['Upsample'] as const),
);

const onnxTable = {
  ...constantOperators,
  ...unsupportedOperators,
  ...unaryRules,
  ...controlFlowRules,
  ...einsumRules,
  ...localNormalizationRules,
  ...lpRules,
  ...paddingRules,
  ...binaryRules,
  ...indexingRules,
  ...matrixRules,
  ...normalizationRules,
  ...poolingRules,
  ...quantizationRules,
  ...resamplingRules,
  ...convolutionRules,
  ...axisFunctionRules,
  ...movementRules,
  ...reductionRules,
  /** Of floats to floats; to anything else see `differentiability`. */
  Cast: pass,
  CastLike: pass,
  /** Without a mask it hands its input on; masks of training are graph inputs. */
  Dropout: pass,
  GRU: gru,
  Identity: pass,
  LSTM: lstm,
  RNN: rnn,
  ...scanRules,
} as const satisfies Record<keyof typeof onnxOperators, Differentiability>;

const microsoftTable: Readonly<Partial<Record<keyof typeof microsoftOperators, Differentiability>>> = microsoftRules;

const FLOAT32 = dataTypes.float32.code;
/** Their values move with the input, and no gradient is written in them. */
const otherFloats: ReadonlySet<number> = new Set([dataTypes.float64.code, dataTypes.float16.code, dataTypes.bfloat16.code]);

/** A cast to float32 hands the gradient on; integers and truth values stand still. */
function castTo(code: number): Differentiability {
  if (code === FLOAT32) return pass;
  return otherFloats.has(code) ? 'unsupported' : 'constant';
}

function castLike({ inputs: [, model] }: Node): Differentiability {
  const dataType = model?.type?.kind === 'tensor' ? model.type.dataType : null;
  return dataType ? castTo(dataTypes[dataType].code) : 'unsupported';
}

/** What is known of the operator of `node`; an operator of a foreign domain is 'unsupported'. */
export function differentiability(node: Node): Differentiability {
  if (node.domain === '' && node.opType === 'Cast') return castTo(intAttribute(node, 'to', FLOAT32));
  if (node.domain === '' && node.opType === 'CastLike') return castLike(node);
  const table: Readonly<Record<string, Differentiability>> =
    node.domain === '' ? onnxTable : node.domain === 'com.microsoft' ? microsoftTable : {};
  return (Object.hasOwn(table, node.opType) ? table[node.opType] : undefined) ?? 'unsupported';
}
