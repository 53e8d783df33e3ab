/** Layers whose rounded inputs, weights and outputs the runtime fuses into one integer kernel. */
import {
  attributeOf,
  float32Tensor,
  float32Values,
  floatAttribute,
  type Graph,
  type Model,
  type Node,
  tensorOf,
  type Value,
} from '../ir/index.js';
import { constantBias } from '../layers/bias-shift.js';
import type { WeightStore } from '../layers/weight-store.js';
import { roundHalfToEven } from '../quantization/quantization-parameters.js';

/** DequantizeLinear with one scale per channel. */
const OPSET = 13;

/**
 * Of `layers`, whose first inputs are rounded: products with a matrix, and convolutions whose outputs, behind a Relu or not, nothing but such
 * layers read. A convolution whose output an Add reads stays float: the runtime fuses it only between two roundings.
 */
export function integerLayers(model: Model, layers: ReadonlySet<Node>): ReadonlySet<Node> {
  if (model.opset < OPSET) return new Set();
  const isRounded = (value: Value): boolean =>
    value.isRead && !model.graph.isOutput(value) && value.uses.every(({ node, index }) => index === 0 && layers.has(node));
  return new Set([...layers].filter((node) => isFused(node, model.graph, isRounded)));
}

function isFused(node: Node, graph: Graph, isRounded: (value: Value) => boolean): boolean {
  const [output] = node.outputs;
  if (node.opType === 'MatMul') return true;
  if (node.opType === 'Gemm') return floatAttribute(node, 'alpha', 1) === 1 && floatAttribute(node, 'beta', 1) === 1;
  if (node.opType !== 'Conv' || !output) return false;
  const [reader, ...others] = output.consumers;
  const isActivated = reader?.opType === 'Relu' && others.length === 0 && !graph.isOutput(output);
  const end = isActivated ? reader.outputs[0] : output;
  return end !== null && end !== undefined && isRounded(end);
}

const INT32_MAX = 2 ** 31 - 1;

/**
 * The bias of a Conv or Gemm as int32 on the scale of the products, b = s_x s_w q, which is how the integer kernel adds it. What rounding it
 * moves is half a unit of the sum of products. Left in float where it is no constant vector, or too large.
 */
export function roundBias(store: WeightStore, node: Node, { input, weights }: { input: number; weights: Float32Array }): void {
  const found = node.opType === 'MatMul' ? null : constantBias(store, node, weights.length);
  if (!found || !node.graph) return;
  const values = float32Values(found.constant.tensor);
  const scales = weights.map((scale) => Math.fround(input * Math.abs(scale)));
  const codes = Array.from(scales, (scale, channel) => roundHalfToEven((values[values.length === 1 ? 0 : channel] ?? 0) / scale));
  if (codes.some((code) => Math.abs(code) > INT32_MAX)) return;
  const count = scales.length;
  const constant = (suffix: string, tensor: Parameters<WeightStore['add']>[2]): Value => store.add(found.constant, suffix, tensor).value;
  const inputs = [
    constant('_int32', tensorOf('int32', [count], Int32Array.from(codes))),
    constant('_scale', float32Tensor([count], scales)),
    constant('_zero_point', tensorOf('int32', [count], new Int32Array(count))),
  ];
  const output = store.newValue(`${found.constant.value.name}_dequantized`);
  node.graph.insertBefore(
    node,
    store.newNode({ opType: 'DequantizeLinear', inputs, outputs: [output], attributes: { axis: attributeOf.int(0) } }, output.name),
  );
  node.setInput(2, output);
  store.dropIfUnread(found.constant);
}
