/** What the CPU provider of onnxruntime computes on 8-bit codes when it finds an operator between DequantizeLinear and QuantizeLinear. */
import { intAttribute, type Node, stringAttribute } from '../../ir/index.js';
import { type OperatorCategory, operatorTraits } from '../../ops/index.js';

/** How an operator takes part in integer arithmetic (onnxruntime.md 1.3, read in the selectors of 1.30 and checked by test/conformance/engine). */
export type IntegerKernel =
  /** Has constant weights; the reason why anything is quantized at all. */
  | { readonly role: 'layer'; readonly layer: 'conv' | 'dense' }
  /** Computes on codes with parameters of its own for each input and the output. */
  | { readonly role: 'own-range'; readonly fixedRange?: readonly [low: number, high: number] }
  /** Moves codes: input and output share their parameters. */
  | { readonly role: 'same-range' }
  /** Vanishes between an integer operator and the Q behind it when the range makes it redundant. */
  | { readonly role: 'absorbed' }
  | { readonly role: 'float'; readonly reason: string };

const sameRange: IntegerKernel = { role: 'same-range' };
const ownRange: IntegerKernel = { role: 'own-range' };
const float = (reason: string): IntegerKernel => ({ role: 'float', reason });

type Rule = IntegerKernel | ((node: Node, opset: number) => IntegerKernel);

/** MaxPool on 8 bit exists from opset 12; the second output (indices) has no integer form. */
function maxPool(node: Node, opset: number): IntegerKernel {
  if (opset < 12) return float('MaxPool on 8 bit needs operator set 12');
  return node.outputs.filter((output) => output !== null).length === 1 ? sameRange : float('the indices of its maxima are wanted');
}

/** Only nearest neighbour copies codes; older runtimes drop the pairs around linear interpolation, too, and round differently. */
function resize(node: Node): IntegerKernel {
  if (stringAttribute(node, 'mode', 'nearest') !== 'nearest') return float('interpolation makes values between the codes');
  if (stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize')
    return float('it crops with a fill value');
  return sameRange;
}

function averagePool(node: Node): IntegerKernel {
  return intAttribute(node, 'ceil_mode', 0) === 0 ? ownRange : float('the integer kernel does not round the output size up');
}

const kernels: Readonly<Record<string, Rule>> = {
  Conv: { role: 'layer', layer: 'conv' },
  Gemm: { role: 'layer', layer: 'dense' },
  MatMul: { role: 'layer', layer: 'dense' },
  Relu: { role: 'absorbed' },
  Clip: { role: 'absorbed' },
  Add: ownRange,
  Mul: ownRange,
  Concat: ownRange,
  LeakyRelu: ownRange,
  Sigmoid: { role: 'own-range', fixedRange: [0, 1] },
  AveragePool: averagePool,
  GlobalAveragePool: ownRange,
  MaxPool: maxPool,
  Resize: resize,
  Reshape: sameRange,
  Flatten: sameRange,
  Transpose: sameRange,
  Squeeze: sameRange,
  Unsqueeze: sameRange,
  Slice: sameRange,
  DepthToSpace: sameRange,
  ConvTranspose: float('the runtime has no integer kernel for it'),
  Softmax: float('its integer kernel is slower than the float one'),
};

/** Why operators of a category stay float unless `kernels` says otherwise; total, so that a new category must be decided. */
const categoryReasons: Readonly<Record<OperatorCategory, string>> = {
  attention: 'fused attention computes in float',
  'axis-function': 'the runtime computes it in float',
  container: 'it holds no tensor',
  'control-flow': 'what is inside a branch or a loop is not calibrated',
  'data-movement': 'the runtime moves its values in float',
  elementwise: 'the runtime has no integer kernel for it',
  generator: 'it makes constants',
  indexing: 'it works on indices',
  'kernel-machine': 'the runtime computes it in float',
  linear: 'the runtime has no integer kernel for it',
  loss: 'it is not part of inference',
  matrix: 'the runtime computes it in float',
  normalization: 'the runtime computes it in float',
  pooling: 'the runtime has no integer kernel for it',
  quantization: 'it is quantized already',
  random: 'it draws random numbers',
  recurrent: 'recurrent layers are quantized at run time or in storage only',
  reduction: 'the runtime computes it in float',
  resampling: 'interpolation makes values between the codes',
  shape: 'it works on sizes',
  text: 'it works on text',
  tree: 'it works on decision trees',
};

/** The integer form of `node` under operator set `opset`; 'float' with a reason for everything that has none, unknown operators included. */
export function integerKernel(node: Node, opset: number): IntegerKernel {
  if (node.domain === '') {
    const rule = Object.hasOwn(kernels, node.opType) ? kernels[node.opType] : undefined;
    if (rule) return typeof rule === 'function' ? rule(node, opset) : rule;
  }
  const traits = operatorTraits(node.domain, node.opType);
  return float(traits ? categoryReasons[traits.category] : 'the operator is not known');
}
