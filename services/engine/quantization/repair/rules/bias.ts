/** Biases of Conv and Gemm: the integer kernels add int32 codes at the scale s_x * s_w[c] and nothing else. */
import { elementCount, float32Tensor, type Node, tensorOf, type Value } from '../../../ir/index.js';
import type { Constant } from '../../../layers/weight-store.js';
import { roundHalfToEven } from '../../quantization-parameters.js';
import type { Diagnosis, ReplacedInput, Rule } from '../finding.js';
import { type IntegerForm, integerForm, tailOf } from '../integer-forms.js';
import type { Conversion, QuantizedGraph } from '../quantized-graph.js';

/** Relative difference of two scales that float32 rounding explains. */
const ROUNDING = 1e-6;
const INT32_MAX = 2 ** 31 - 1;

interface BiasedNode {
  readonly node: Node;
  readonly index: number;
  readonly bias: Value;
  /** s_x * s_w[c] as float32, one element when the weight has one scale. */
  readonly steps: Float32Array;
  readonly quantizer: Conversion | undefined;
}

/** Conv and Gemm nodes with quantized operands and a bias. */
function biasedNodes(graph: QuantizedGraph): BiasedNode[] {
  return graph.nodes.flatMap((node) => {
    const form = integerForm(node);
    return form?.bias === undefined ? [] : (biasedNode(node, form, graph) ?? []);
  });
}

function biasedNode(node: Node, form: IntegerForm, graph: QuantizedGraph): BiasedNode | undefined {
  const index = form.bias ?? 2;
  const bias = node.inputs[index];
  const activation = graph.dequantizedActivation(node.inputs[0]);
  const weight = graph.dequantizer(node.inputs[form.weight ?? 1]);
  const [scale] = activation?.scales ?? [];
  if (!bias || scale === undefined || !activation?.isPerTensor || !weight?.scales || weight.blockSize > 0) return undefined;
  const steps = weight.scales.map((each) => Math.fround(scale * each));
  return { node, index, bias, steps, quantizer: tailOf(node, graph).quantizer };
}

export const biasScale: Rule = {
  title: 'A bias whose scale is not the product of the scales of activation and weight.',
  examine: (graph) => biasedNodes(graph).flatMap((found) => wrongScale(found, graph)),
};

function wrongScale(found: BiasedNode, graph: QuantizedGraph): Diagnosis[] {
  const { node, bias, steps } = found;
  const stored = graph.dequantizedConstant(bias);
  if (!stored?.scales || stored.codeType !== 'int32' || !stored.zeroPoints) return [];
  const count = Math.max(stored.scales.length, steps.length);
  const ratios = Array.from({ length: count }, (_, at) => elementAt(stored.scales, at) / elementAt(steps, at));
  const worst = ratios.reduce((a, b) => (Math.abs(b - 1) > Math.abs(a - 1) ? b : a), 1);
  if (Math.abs(worst - 1) <= ROUNDING && stored.zeroPoints.every((zeroPoint) => zeroPoint === 0)) return [];
  const values = realValues(stored);
  const isGemm = node.opType === 'Gemm';
  const sentence =
    `The scale of its bias is ${format(worst)} times s_x * s_w: ` +
    (isGemm
      ? 'the runtime does not look at it and adds the codes as they are, a silently wrong sum.'
      : 'from 1.28 on the runtime leaves the convolution in float when they differ by more than 1 %; before, and below that, it adds the codes as they are, a wrong sum.');
  return [
    {
      node,
      effect: isGemm ? 'numbers' : Math.abs(worst - 1) > 0.01 ? 'float' : 'numbers',
      sentence,
      ...requantize(found, { values, graph }),
    },
  ];
}

export const floatBias: Rule = {
  title: 'A float bias beside quantized operands.',
  examine: (graph) => biasedNodes(graph).flatMap((found) => leftFloat(found, graph)),
};

function leftFloat(found: BiasedNode, graph: QuantizedGraph): Diagnosis[] {
  const { node, bias, quantizer } = found;
  if (graph.dequantizer(bias)) return [];
  const values = graph.floats(bias);
  if (!values || elementCount(graph.store.constant(bias)?.tensor.dims ?? []) !== values.length) {
    const sentence = `Its bias "${bias.name}" is computed in every run: the integer kernel takes a constant int32 bias only.`;
    return [{ node, effect: 'float', sentence, repairable: 'no', instead: 'Add it behind the node with an Add of its own.' }];
  }
  const sentence = quantizer
    ? 'Its bias is float32: the runtime quantizes it when it loads the model (pass WeightBiasQuantization), other tools leave the node in float.'
    : 'Its bias is float32 and no QuantizeLinear follows: the runtime computes the node in float and dequantizes its weight in every run.';
  return [{ node, effect: quantizer ? 'harmless' : 'float', sentence, ...requantize(found, { values, graph }) }];
}

type Treatment = Pick<Diagnosis, 'repairable' | 'instead' | 'repair'>;

/**
 * q[c] = rint(b[c] / (s_x s_w[c])), at most half a step of the accumulator away from the real value; exact to one step of the
 * output when a step of the accumulator is not larger than two of them.
 */
function requantize(found: BiasedNode, { values, graph }: { values: Float32Array | Float64Array; graph: QuantizedGraph }): Treatment {
  const { node, index, bias, steps, quantizer } = found;
  const count = Math.max(values.length, steps.length);
  const codes = Float64Array.from({ length: count }, (_, at) => roundHalfToEven(elementAt(values, at) / elementAt(steps, at)));
  if (codes.some((code) => !(Math.abs(code) <= INT32_MAX))) {
    return { repairable: 'no', instead: 'At the right scale the bias does not fit into int32: quantize again with a larger weight scale.' };
  }
  const outputStep = quantizer?.scales?.[0];
  if (outputStep !== undefined && steps.some((step) => step > 2 * outputStep)) {
    return { repairable: 'no', instead: 'A step of the accumulator is larger than two steps of the output: quantize again.' };
  }
  const apply = (): ReplacedInput[] => {
    const dims = graph.store.constant(graph.dequantizer(bias)?.input ?? bias)?.tensor.dims ?? [count];
    const shape = elementCount(dims) === count ? dims : [count];
    const perChannel = steps.length > 1;
    const operands = [
      graph.addConstant(node, 'bias_codes', tensorOf('int32', shape, Int32Array.from(codes))),
      graph.addConstant(node, 'bias_scale', float32Tensor(perChannel ? [steps.length] : [], steps)),
      graph.addConstant(node, 'bias_zero_point', tensorOf('int32', perChannel ? [steps.length] : [], new Int32Array(steps.length))),
    ];
    graph.insertDequantize(node, index, { operands, axis: perChannel ? shape.length - 1 : undefined });
    return [{ node, index, before: bias, tolerance: Math.max(...steps) / 2 }];
  };
  const instead = 'The bias as int32 at s_x * s_w: each element within half a step of the accumulator.';
  return { repairable: 'exact', instead, repair: { proof: 'one-step', apply } };
}

function realValues({ scales, zeroPoints, constant }: Conversion & { readonly constant: Constant }): Float64Array {
  const bytes = constant.tensor.data.read();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float64Array.from({ length: bytes.byteLength / 4 }, (_, at) => {
    return (view.getInt32(4 * at, true) - elementAt(zeroPoints ?? [], at)) * elementAt(scales ?? [], at);
  });
}

/** Element `at` of a vector of which one element may stand for all. */
function elementAt(values: ArrayLike<number> | undefined, at: number): number {
  return values?.[values.length === 1 ? 0 : at] ?? 0;
}

function format(ratio: number): string {
  return ratio.toPrecision(4);
}
