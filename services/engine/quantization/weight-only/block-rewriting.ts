/** Puts the blocked form of a layer in the place of its float node: MatMulNBits for products, GatherBlockQuantized for lookups. */
import { attributeOf } from '../../ir/index.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import type { EmbeddingLookup } from '../../layers/embedding-tables.js';
import type { WeightStore } from '../../layers/weight-store.js';
import { biasInput, replaceNodes } from '../integer-rewriting.js';
import type { BlockedConstant } from './blocked-constant.js';

/**
 * y = x W: com.microsoft MatMulNBits over codes [N, blocks, bytes]. alpha goes into the scales, a constant bias into the kernel; another
 * bias is added behind it. `accuracyLevel` is always written, as what is meant by its absence has changed between versions.
 */
export function rewriteProduct(store: WeightStore, layer: DenseLayer, how: { blocked: BlockedConstant; accuracyLevel: 1 | 4 }): void {
  const { node, bias, alpha, channels, depth } = layer;
  const { blocked, accuracyLevel } = how;
  const absorbed = bias?.add ?? null;
  const output = (absorbed ?? node).outputs[0];
  if (!output) throw new Error(`node ${node.name || node.opType} has no output`);
  const vector = bias ? biasInput(store, bias, channels) : null;
  const isAddedBehind = bias !== null && vector === null;
  const product = isAddedBehind ? store.newValue(`${output.name}_product`) : output;
  const inputs = [layer.activation, blocked.codes(), blocked.scales(alpha), blocked.zeroPoints(), null, vector];
  while (inputs.at(-1) === null) inputs.pop();
  const attributes = {
    K: attributeOf.int(depth),
    N: attributeOf.int(channels),
    bits: attributeOf.int(blocked.weights.bits),
    block_size: attributeOf.int(blocked.weights.blockSize),
    accuracy_level: attributeOf.int(accuracyLevel),
  };
  const replaced = absorbed ? [node, absorbed] : [node];
  const replacement = replaceNodes(store, replaced, { opType: 'MatMulNBits', inputs, outputs: [product], attributes });
  if (!isAddedBehind) return;
  const add = store.newNode({ opType: 'Add', inputs: [product, bias.value], outputs: [output] }, `${replacement.name}_bias`);
  replacement.graph?.insertAfter(replacement, add);
}

/** Rows are looked up as codes and widened, in one node: com.microsoft GatherBlockQuantized over [rows, bytes of a row]. */
export function rewriteLookup(store: WeightStore, { node, indices }: EmbeddingLookup, blocked: BlockedConstant): void {
  const zeroPoints = blocked.zeroPoints();
  const inputs = [blocked.codeTable(), indices, blocked.scales(), ...(zeroPoints ? [zeroPoints] : [])];
  const attributes = {
    bits: attributeOf.int(blocked.weights.bits),
    block_size: attributeOf.int(blocked.weights.blockSize),
    gather_axis: attributeOf.int(0),
    quantize_axis: attributeOf.int(1),
  };
  replaceNodes(store, [node], { opType: 'GatherBlockQuantized', inputs, outputs: node.outputs, attributes });
}
