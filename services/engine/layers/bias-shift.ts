/** Adds a vector to what a layer computes: into its bias, or as a new one. */
import { float32Tensor, float32Values, floatAttribute, type Node, type Use } from '../ir/index.js';
import type { Constant, WeightStore } from './weight-store.js';

/** Where a bias stands, or could stand. */
interface BiasPlace {
  readonly use: Use;
  /** Null when the layer has no bias yet. */
  readonly constant: Constant | null;
  /** The layer adds this times the bias. */
  readonly factor: number;
}

/**
 * b += delta, one value per output channel. Conv, ConvTranspose and Gemm get their constant bias
 * changed or a new one, a MatMul the constant vector of the Add behind it. False, with nothing changed, when there is none.
 */
export function shiftBias(store: WeightStore, node: Node, delta: Float64Array): boolean {
  const place = biasPlace(store, node, delta.length);
  if (!place) return false;
  const { use, constant, factor } = place;
  const scaled = delta.map((value) => value / factor);
  if (constant) shiftVector(store, use, { constant, delta: scaled });
  else addVector(store, use, scaled);
  return true;
}

/** The constant that a layer adds to its outputs, times `factor`: one value per channel, or one for all. */
export function constantBias(store: WeightStore, node: Node, channels: number): { constant: Constant; factor: number } | null {
  const place = biasPlace(store, node, channels);
  return place?.constant ? { constant: place.constant, factor: place.factor } : null;
}

/** Whether `shiftBias` would change what the layer adds to its `channels` outputs. */
export function hasShiftableBias(store: WeightStore, node: Node, channels: number): boolean {
  return biasPlace(store, node, channels) !== null;
}

function biasPlace(store: WeightStore, node: Node, channels: number): BiasPlace | null {
  if (node.domain !== '') return null;
  switch (node.opType) {
    case 'Conv':
    case 'ConvTranspose':
      return thirdInput(store, node, { channels, factor: 1 });
    case 'Gemm':
      return thirdInput(store, node, { channels, factor: floatAttribute(node, 'beta', 1) });
    case 'MatMul': {
      const use = biasAddition(store, node);
      const constant = use && vectorAt(store, use, channels);
      return use && constant ? { use, constant, factor: 1 } : null;
    }
    default:
      return null;
  }
}

function thirdInput(store: WeightStore, node: Node, { channels, factor }: { channels: number; factor: number }): BiasPlace | null {
  const use = { node, index: 2 };
  if (factor === 0) return null;
  if (!node.inputs[2]) return store.constant(node.inputs[1]) ? { use, constant: null, factor } : null;
  const constant = vectorAt(store, use, channels);
  return constant ? { use, constant, factor } : null;
}

/** The Add of a constant behind a product that nothing else reads. */
function biasAddition(store: WeightStore, { outputs: [product], graph }: Node): Use | undefined {
  const [use, ...others] = product?.uses ?? [];
  if (!product || !use || others.length > 0 || store.isGraphOutput(product)) return undefined;
  const { node, index } = use;
  return node.opType === 'Add' && node.domain === '' && node.graph === graph ? { node, index: 1 - index } : undefined;
}

function vectorAt(store: WeightStore, { node, index }: Use, channels: number): Constant | null {
  const constant = store.constant(node.inputs[index]);
  if (constant?.tensor.dataType !== 'float32') return null;
  const { dims } = constant.tensor;
  const count = dims.reduce((product, size) => product * size, 1);
  return dims.slice(0, -1).every((size) => size === 1) && (count === channels || count === 1) ? constant : null;
}

/** The reader gets a vector of its own: others may read the old one. */
function shiftVector(store: WeightStore, { node, index }: Use, { constant, delta }: { constant: Constant; delta: Float64Array }): void {
  const { dims } = constant.tensor;
  const old = float32Values(constant.tensor);
  const shifted = Float32Array.from(delta, (value, channel) => (old[old.length === 1 ? 0 : channel] ?? 0) + value);
  node.setInput(index, store.add(constant, '_corrected', float32Tensor([...dims.slice(0, -1), delta.length], shifted)).value);
  store.dropIfUnread(constant);
}

function addVector(store: WeightStore, { node, index }: Use, delta: Float64Array): void {
  const weight = store.constant(node.inputs[1]);
  if (weight) node.setInput(index, store.add(weight, '_bias', float32Tensor([delta.length], Float32Array.from(delta))).value);
}
