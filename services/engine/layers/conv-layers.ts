/** Recognises Conv nodes with constant weights and bias, and says of the others why they are left alone. */
import { elementCount, float32Values, intAttribute, type Node, type Value } from '../ir/index.js';
import { allFinite } from './finite-values.js';
import type { Constant, WeightStore } from './weight-store.js';

/** y = conv(x, W) + b. */
export interface ConvLayer {
  readonly kind: 'conv';
  readonly node: Node;
  readonly activation: Value;
  /** [channels, inputs per group, ...kernel]. */
  readonly weight: Constant;
  readonly bias: Constant | null;
  readonly group: number;
  readonly channels: number;
  /** Weights of one output channel. */
  readonly depth: number;
}

/** The layer that `node` is, or the reason why it is left. */
export function convLayer(node: Node, store: WeightStore): ConvLayer | { readonly reason: string } {
  const [activation, weightValue, biasValue] = node.inputs;
  if (!activation || !weightValue) return { reason: 'an input is missing' };
  const weight = store.constant(weightValue);
  if (!weight) return { reason: 'its weights are computed, not constant' };
  const { dataType, dims } = weight.tensor;
  if (dataType !== 'float32') return { reason: `its weight "${weight.value.name}" is ${dataType}, not float32` };
  const [channels = 0] = dims;
  if (dims.length < 3 || elementCount(dims) === 0) return { reason: `its weight "${weight.value.name}" has shape [${dims}]` };
  if (!allFinite(float32Values(weight.tensor)))
    return { reason: `its weight "${weight.value.name}" holds values that are not finite numbers` };
  const bias = biasValue ? store.constant(biasValue) : undefined;
  if (biasValue && !bias) return { reason: 'its bias is computed, not constant' };
  if (bias && !allFinite(float32Values(bias.tensor))) return { reason: 'its bias holds values that are not finite numbers' };
  const group = intAttribute(node, 'group', 1);
  return { kind: 'conv', node, activation, weight, bias: bias ?? null, group, channels, depth: elementCount(dims) / channels };
}
