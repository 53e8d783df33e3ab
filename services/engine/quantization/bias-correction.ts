/** Bias correction (methods.md 3.2): the mean of each channel is moved back to where it was before the weights were rounded. */
import { float32Tensor, float32Values, floatAttribute, integerValues, type Model, type Node, type Tensor, type Use } from '../ir/index.js';
import type { WeightStore } from '../layers/weight-store.js';
import type { MethodContext, RunSource } from '../method.js';
import { ProbeGraph } from '../normal-equations/probe-graph.js';
import { runAll } from '../normal-equations/row-sums.js';

export interface MeanTensor {
  /** Name of a float32 value of the main graph. */
  readonly name: string;
  readonly channels: number;
  /** Where the channels are: 'second' for convolutions and Gemm, 'last' for MatMul. */
  readonly axis: 'second' | 'last';
}

export interface MeanRequest {
  readonly model: Model;
  readonly tensors: readonly MeanTensor[];
  readonly samples: RunSource;
  readonly context: MethodContext;
}

const SAMPLES_PER_RUN_MAX = 32;
/** Bytes of the samples of one run. */
const RUN_BYTES = 2 ** 20;

/** Mean of each channel over all samples and positions, by name; tensors that the main graph does not make are missing. */
export async function meanOutputs({ model, tensors, samples, context }: MeanRequest): Promise<Map<string, Float64Array>> {
  const probe = new ProbeGraph(model);
  const sums = new Map<string, { mean: string; shape: string; total: Float64Array; rows: number; axis: MeanTensor['axis'] }>();
  for (const { name, channels, axis } of tensors) {
    const value = probe.value(name);
    if (!value) continue;
    const flat =
      axis === 'second' ? probe.reshape(value, [0, channels, -1]) : probe.transpose(probe.reshape(value, [1, -1, channels]), [0, 2, 1]);
    const mean = probe.output(probe.node('GlobalAveragePool', [flat]), 'float32');
    sums.set(name, { mean, shape: probe.output(probe.node('Shape', [flat]), 'int64'), total: new Float64Array(channels), rows: 0, axis });
  }
  if (sums.size === 0) return new Map();
  const size = Math.max(1, Math.min(SAMPLES_PER_RUN_MAX, Math.floor(RUN_BYTES / Math.max(1, samples.sampleBytes))));
  await runAll({ model: probe.pruned(), samples, size, context }, (fetched) => {
    for (const sum of sums.values()) {
      const [mean, shape] = [fetched.get(sum.mean), fetched.get(sum.shape)];
      if (mean && shape) sum.rows += addMeans(sum.total, mean, integerValues(shape)[2] ?? 0);
    }
  });
  return new Map([...sums].map(([name, { total, rows }]) => [name, total.map((value) => value / rows)]));
}

/** Adds means [N, C, 1] of `positions` values each; returns how many values per channel they stand for. */
function addMeans(total: Float64Array, mean: Tensor, positions: number): number {
  for (const [at, value] of float32Values(mean).entries()) {
    const channel = at % total.length;
    total[channel] = (total[channel] ?? 0) + value * positions;
  }
  return (mean.dims[0] ?? 0) * positions;
}

/**
 * b += delta, where delta is what the means lost: before - after. Conv, ConvTranspose and Gemm get their constant bias
 * changed or a new one, a MatMul the constant vector of the Add behind it. False, with nothing changed, when there is none.
 */
export function correctBias(store: WeightStore, node: Node, delta: Float64Array): boolean {
  if (node.domain !== '') return false;
  switch (node.opType) {
    case 'Conv':
    case 'ConvTranspose':
      return node.inputs[2] ? shiftVector(store, { node, index: 2 }, delta) : addBias(store, node, delta);
    case 'Gemm': {
      const beta = floatAttribute(node, 'beta', 1);
      if (beta === 0) return false;
      const scaled = delta.map((value) => value / beta);
      return node.inputs[2] ? shiftVector(store, { node, index: 2 }, scaled) : addBias(store, node, scaled);
    }
    case 'MatMul': {
      const add = biasAddition(store, node);
      return add ? shiftVector(store, add, delta) : false;
    }
    default:
      return false;
  }
}

/** The Add of a constant behind a product that nothing else reads. */
function biasAddition(store: WeightStore, { outputs: [product], graph }: Node): Use | undefined {
  const [use, ...others] = product?.uses ?? [];
  if (!product || !use || others.length > 0 || store.isGraphOutput(product)) return undefined;
  const { node, index } = use;
  return node.opType === 'Add' && node.domain === '' && node.graph === graph ? { node, index: 1 - index } : undefined;
}

/** The reader gets a vector of its own: others may read the old one. */
function shiftVector(store: WeightStore, { node, index }: Use, delta: Float64Array): boolean {
  const constant = store.constant(node.inputs[index]);
  if (constant?.tensor.dataType !== 'float32') return false;
  const { dims } = constant.tensor;
  const old = float32Values(constant.tensor);
  const isVector = dims.slice(0, -1).every((size) => size === 1) && (old.length === delta.length || old.length === 1);
  if (!isVector) return false;
  const shifted = Float32Array.from(delta, (value, channel) => (old[old.length === 1 ? 0 : channel] ?? 0) + value);
  node.setInput(index, store.add(constant, '_corrected', float32Tensor([...dims.slice(0, -1), delta.length], shifted)).value);
  store.dropIfUnread(constant);
  return true;
}

function addBias(store: WeightStore, node: Node, delta: Float64Array): boolean {
  const weight = store.constant(node.inputs[1]);
  if (!weight) return false;
  node.setInput(2, store.add(weight, '_bias', float32Tensor([delta.length], Float32Array.from(delta))).value);
  return true;
}
