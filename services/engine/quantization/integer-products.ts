/** Finds the products that the runtime computes with 8-bit kernels, in whatever form the model was quantized, with their weight codes. */
import { type Graph, graphsWithin, intAttribute, type Model, type Node, type Value } from '../ir/index.js';
import { WeightStore } from '../layers/weight-store.js';
import { convolutionRows, isDepthwise, type KernelRows, matrixRows } from './kernel-order.js';
import { QuantizedValues } from './quantized-values.js';

export interface IntegerProduct {
  readonly node: Node;
  /** In Q/DQ form: an integer product only if the runtime fuses it; what it leaves in this form it computes in float. */
  readonly isDequantized: boolean;
  /** The left operand: codes 0..255, or -128..127. In Q/DQ form the runtime shifts the latter to 0..255 where it can. */
  readonly activation: 'uint8' | 'int8';
  /** Codes of an int8 right operand; null when it is computed in every run. */
  readonly weights: readonly KernelRows[] | null;
  /** Why no pair of products is added at int16: 'uint8' weights, a depthwise kernel, signed activations; null for the pair kernel. */
  readonly widens: 'uint8' | 'depthwise' | 'int8 activation' | 'ConvInteger' | null;
  /** Largest code of the activation as the pair kernel sees it, 0..255. */
  readonly largestCode: number;
}

/** How an operator holds its product. `weights` are the inputs with weight codes. */
interface ProductForm {
  readonly activation: number;
  readonly weights: readonly number[];
  readonly layout: 'convolution' | 'matrix' | 'gemm';
  /** The activation is quantized inside the operator, or the operands are float values behind DequantizeLinear. */
  readonly quantizes?: true;
  readonly dequantized?: true;
}

const onnxForms: Readonly<Record<string, ProductForm>> = {
  Conv: { activation: 0, weights: [1], layout: 'convolution', dequantized: true },
  Gemm: { activation: 0, weights: [1], layout: 'gemm', dequantized: true },
  MatMul: { activation: 0, weights: [1], layout: 'matrix', dequantized: true },
  QLinearConv: { activation: 0, weights: [3], layout: 'convolution' },
  QLinearMatMul: { activation: 0, weights: [3], layout: 'matrix' },
  ConvInteger: { activation: 0, weights: [1], layout: 'convolution' },
  MatMulInteger: { activation: 0, weights: [1], layout: 'matrix' },
};

const microsoftForms: Readonly<Record<string, ProductForm>> = {
  QLinearConv: { activation: 0, weights: [3], layout: 'convolution' },
  QGemm: { activation: 0, weights: [3], layout: 'gemm' },
  MatMulIntegerToFloat: { activation: 0, weights: [1], layout: 'matrix' },
  DynamicQuantizeMatMul: { activation: 0, weights: [1], layout: 'matrix', quantizes: true },
  DynamicQuantizeLSTM: { activation: 0, weights: [1, 2], layout: 'matrix', quantizes: true },
  QAttention: { activation: 0, weights: [1], layout: 'matrix' },
};

/** The form of the product that `node` holds; undefined for other operators. */
function formOf(node: Node): ProductForm | undefined {
  if (node.domain === '') return onnxForms[node.opType];
  return node.domain === 'com.microsoft' ? microsoftForms[node.opType] : undefined;
}

/** Every 8-bit product of the model, branches and bodies included. */
export function integerProducts(model: Model): IntegerProduct[] {
  const values = new QuantizedValues(new WeightStore(model));
  const products: IntegerProduct[] = [];
  for (const graph of graphsWithin(model.graph)) {
    for (const node of graph.nodes) {
      const form = formOf(node);
      const product = form && productOf(node, form, { values, graph });
      if (product) products.push(product);
    }
  }
  return products;
}

interface Surroundings {
  readonly values: QuantizedValues;
  readonly graph: Graph;
}

function productOf(node: Node, form: ProductForm, { values, graph }: Surroundings): IntegerProduct | undefined {
  const operands = form.weights.map((index) => node.inputs[index] ?? null);
  const activation = form.quantizes ? 'uint8' : activationType(node.inputs[form.activation] ?? null, form, values);
  const weightTypes = operands.map((operand) => (form.dequantized ? values.dequantizedType(operand) : values.codeType(operand)));
  if (!activation || weightTypes.some((type) => type !== 'uint8' && type !== 'int8')) return undefined;
  // Without QuantizeLinear behind it a convolution stays in float: there is no kernel with integers in and floats out.
  if (form.dequantized && node.opType === 'Conv' && !isRequantized(node, graph)) return undefined;
  const rows = operands.map((operand) => rowsOf(node, form, values.codes(operand)));
  const weights = rows.every((each) => each !== null) ? rows : null;
  const isDequantized = form.dequantized === true;
  const base = {
    node,
    isDequantized,
    activation,
    weights,
    largestCode: form.quantizes ? 255 : values.largestCode(node.inputs[form.activation] ?? null),
  };
  return { ...base, widens: wideningOf(base, { node, form, weightTypes, dims: values.codes(operands[0] ?? null)?.dims ?? [] }) };
}

function activationType(value: Value | null, form: ProductForm, values: QuantizedValues): 'uint8' | 'int8' | undefined {
  const type = form.dequantized ? values.dequantizedType(value) : values.codeType(value);
  return type === 'uint8' || type === 'int8' ? type : undefined;
}

function wideningOf(
  { activation, weights }: Pick<IntegerProduct, 'activation' | 'weights'>,
  {
    node,
    form,
    weightTypes,
    dims,
  }: { node: Node; form: ProductForm; weightTypes: readonly (string | undefined)[]; dims: readonly number[] },
): IntegerProduct['widens'] {
  if (node.opType === 'ConvInteger') return 'ConvInteger';
  if (weightTypes.every((type) => type === 'uint8')) return 'uint8';
  if (form.dequantized && weights === null && isMadeUnsigned(node.inputs[1] ?? null)) return 'uint8';
  if (form.layout === 'convolution' && isDepthwise(dims, intAttribute(node, 'group', 1))) return 'depthwise';
  // Two signed operands have a kernel without pairs; in Q/DQ form the runtime makes the activation unsigned where it can.
  return activation === 'int8' && !form.dequantized ? 'int8 activation' : null;
}

/** The runtime's QDQS8ToU8 makes an int8 Q/DQ pair unsigned when nothing else reads the codes. */
function isMadeUnsigned(value: Value | null): boolean {
  const codes = value?.producer?.opType === 'DequantizeLinear' ? value.producer.inputs[0] : null;
  return codes?.producer?.opType === 'QuantizeLinear' && codes.uses.length === 1;
}

function rowsOf(node: Node, form: ProductForm, constant: { codes: Int8Array; dims: readonly number[] } | undefined): KernelRows | null {
  if (!constant || constant.dims.length < 2) return null;
  if (form.layout === 'convolution') return convolutionRows(constant.codes, constant.dims);
  return matrixRows(constant.codes, constant.dims, form.layout === 'gemm' && intAttribute(node, 'transB', 0) === 1);
}

/** True when the output goes to QuantizeLinear and to nothing else, at most through one Relu or Clip. */
function isRequantized(node: Node, graph: Graph): boolean {
  let value = node.outputs[0];
  for (let steps = 0; value && !graph.isOutput(value); steps += 1) {
    const { consumers } = value;
    const [reader] = consumers;
    if (!reader || consumers.length !== 1) return false;
    if (reader.opType === 'QuantizeLinear') return true;
    if (steps > 0 || (reader.opType !== 'Relu' && reader.opType !== 'Clip')) return false;
    value = reader.outputs[0];
  }
  return false;
}
