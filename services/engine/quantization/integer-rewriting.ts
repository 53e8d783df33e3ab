/** Puts the integer form of a layer in the place of its float node: products, recurrent layers, table lookups. */
import { attributeOf, float32Tensor, float32Values, type Node, type Value } from '../ir/index.js';
import type { Bias, DenseLayer } from '../layers/dense-layers.js';
import type { EmbeddingLookup } from '../layers/embedding-tables.js';
import type { WeightStore } from '../layers/weight-store.js';
import type { Int8Weight } from './int8-weights.js';
import type { LstmLayer } from './recurrent-layers.js';

/** ONNX TensorProto.DataType of float32, as Cast takes it. */
const FLOAT32 = 1;

/** What an integer product reads. */
export interface ProductInput {
  readonly activation: Value;
  /** The activation quantized once for several products: codes, scale, zero point. */
  readonly quantized?: { readonly codes: Value; readonly scale: Value; readonly zeroPoint: Value };
}

/** DynamicQuantizeLinear in front of `before`, for the layers that share its input. Needs operator set 11. */
export function quantizeActivation(store: WeightStore, activation: Value, before: Node): ProductInput {
  const codes = store.newValue(`${activation.name}_quantized`);
  const scale = store.newValue(`${activation.name}_quantized_scale`);
  const zeroPoint = store.newValue(`${activation.name}_quantized_zero_point`);
  const node = store.newNode({ opType: 'DynamicQuantizeLinear', inputs: [activation], outputs: [codes, scale, zeroPoint] }, codes.name);
  graphOf(before).insertBefore(before, node);
  return { activation, quantized: { codes, scale, zeroPoint } };
}

/** The activation divided by the smoothing factors of its channels, in front of `layer`. */
export function smoothActivation(store: WeightStore, { activation, weight, node }: DenseLayer, factors: Float32Array): Value {
  const smoothed = store.newValue(`${activation.name}_smoothed`);
  const inverse = factors.map((factor) => 1 / factor);
  const inputs = [activation, store.add(weight, '_smoothing', float32Tensor([inverse.length], inverse)).value];
  graphOf(node).insertBefore(node, store.newNode({ opType: 'Mul', inputs, outputs: [smoothed] }, smoothed.name));
  return smoothed;
}

function graphOf(node: Node) {
  if (!node.graph) throw new Error(`node ${node.name || node.opType} is in no graph`);
  return node.graph;
}

/** Takes the place of `old` under its name, writing `outputs`. */
export function replaceNodes(
  store: WeightStore,
  old: readonly Node[],
  replacement: Omit<Parameters<WeightStore['newNode']>[0], 'domain'>,
): Node {
  const [first] = old;
  if (!first) throw new Error('nothing to replace');
  const node = store.newNode({ ...replacement, domain: 'com.microsoft' }, first.name || `${first.outputs[0]?.name ?? first.opType}_int8`);
  node.name = first.name || node.name;
  const graph = graphOf(first);
  graph.insertBefore(first, node);
  graph.remove(old);
  return node;
}

/**
 * y = x W: DynamicQuantizeMatMul, or MatMulIntegerToFloat over an activation that is quantized already. The bias is added inside the kernel;
 * one that is not a constant vector by an Add behind it.
 */
export function rewriteDense(store: WeightStore, layer: DenseLayer, parts: { weight: Int8Weight; input: ProductInput }): void {
  const { weight, input } = parts;
  const { quantized } = input;
  const { node, bias, alpha, channels } = layer;
  const absorbed = bias?.add ?? null;
  const output = (absorbed ?? node).outputs[0];
  if (!output) throw new Error(`node ${node.name || node.opType} has no output`);
  const scales = weight.scales(weight.scaleCount === 1 ? [] : [channels], alpha);
  const vector = bias ? biasInput(store, bias, channels) : null;
  const isAddedBehind = bias !== null && vector === null;
  const product = isAddedBehind ? store.newValue(`${output.name}_product`) : output;
  const tail = vector ? [vector] : [];
  const codes = weight.codesReducedFirst();
  const inputs = quantized
    ? [quantized.codes, codes, quantized.scale, scales, quantized.zeroPoint, null, ...tail]
    : [input.activation, codes, scales, null, ...tail];
  while (inputs.at(-1) === null) inputs.pop();
  const opType = quantized ? 'MatMulIntegerToFloat' : 'DynamicQuantizeMatMul';
  const replacement = replaceNodes(store, absorbed ? [node, absorbed] : [node], { opType, inputs, outputs: [product] });
  if (!isAddedBehind) return;
  const add = store.newNode({ opType: 'Add', inputs: [product, bias.value], outputs: [output] }, `${replacement.name}_bias`);
  graphOf(replacement).insertAfter(replacement, add);
}

/** beta * C as a vector of one element per channel; null when C is not a constant vector. */
export function biasInput(store: WeightStore, { vector, factor }: Bias, channels: number): Value | null {
  if (!vector) return null;
  if (factor === 1 && vector.tensor.dims.length === 1 && vector.tensor.dims[0] === channels) return vector.value;
  const source = float32Values(vector.tensor);
  const values = Float32Array.from({ length: channels }, (_, at) => factor * (source[source.length === 1 ? 0 : at] ?? 0));
  return store.add(vector, '_vector', float32Tensor([channels], values)).value;
}

/** The attributes of LSTM that DynamicQuantizeLSTM has too; `layout` is the one that it lacks. */
const lstmAttributes = ['activation_alpha', 'activation_beta', 'activations', 'clip', 'direction', 'hidden_size', 'input_forget'];

/** LSTM with int8 weights [directions, input, 4 hidden] and [directions, hidden, 4 hidden]; inputs 3 to 7 stay. */
export function rewriteLstm(store: WeightStore, layer: LstmLayer, weights: { weight: Int8Weight; recurrence: Int8Weight }): void {
  const { node, directions, hiddenSize } = layer;
  const [input] = node.inputs;
  const kept = Array.from({ length: 5 }, (_, at) => node.inputs[3 + at] ?? null);
  const quantization = [weights.weight, weights.recurrence].flatMap((weight) => {
    const dims = weight.scaleCount === 1 ? [directions] : [directions, 4 * hiddenSize];
    return [weight.scales(dims), weight.zeroPoints(dims)];
  });
  const inputs = [input ?? null, weights.weight.codesReducedFirst(), weights.recurrence.codesReducedFirst(), ...kept, ...quantization];
  const attributes = new Map([...node.attributes].filter(([name]) => lstmAttributes.includes(name)));
  replaceNodes(store, [node], { opType: 'DynamicQuantizeLSTM', inputs, outputs: node.outputs, attributes });
}

/** Rows are looked up as int8, then widened and scaled: only what was looked up is touched, never the whole table. */
export function rewriteEmbedding(store: WeightStore, { node, indices }: EmbeddingLookup, table: Int8Weight): void {
  const [output] = node.outputs;
  if (!output) throw new Error(`Gather ${node.name} has no output`);
  const graph = graphOf(node);
  const codes = store.newValue(`${output.name}_int8`);
  const widened = store.newValue(`${output.name}_widened`);
  const scales = table.scales(table.broadcastScaleDims());
  const stem = node.name || output.name;
  const attributes = node.attributes;
  const lookup = store.newNode({ opType: 'Gather', inputs: [table.codes(), indices], outputs: [codes], attributes }, `${stem}_int8`);
  const nodes = [
    lookup,
    store.newNode({ opType: 'Cast', inputs: [codes], outputs: [widened], attributes: { to: attributeOf.int(FLOAT32) } }, `${stem}_widened`),
  ];
  let factor = scales;
  if (table.hasRowScales) {
    factor = store.newValue(`${output.name}_scale`);
    nodes.push(store.newNode({ opType: 'Gather', inputs: [scales, indices], outputs: [factor], attributes }, `${stem}_scale`));
  }
  nodes.push(store.newNode({ opType: 'Mul', inputs: [widened, factor], outputs: [output] }, `${stem}_rescaled`));
  graph.insertBefore(node, ...nodes);
  graph.remove([node]);
}
