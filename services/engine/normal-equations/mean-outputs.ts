/** Means of outputs, for bias correction (methods.md 3.2): each channel is moved back to where it was before the weights were changed. */
import { float32Values, integerValues, type Model, type Tensor } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import { ProbeGraph } from './probe-graph.js';
import { runAll } from './row-sums.js';

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
