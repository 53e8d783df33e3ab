/** The largest magnitude of each channel over all samples: only one number per channel and run leaves the runtime. */
import { float32Values, type Model } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import type { MeanTensor } from './mean-outputs.js';
import { ProbeGraph } from './probe-graph.js';
import { runAll } from './row-sums.js';

export interface ChannelRangeRequest {
  readonly model: Model;
  readonly tensors: readonly MeanTensor[];
  readonly samples: RunSource;
  readonly context: MethodContext;
}

/** max |x| by name and channel; tensors that the main graph does not make are missing, values that are not finite count as 0. */
export async function channelRanges({ model, tensors, samples, context }: ChannelRangeRequest): Promise<Map<string, Float64Array>> {
  const probe = new ProbeGraph(model);
  const ranges = new Map<string, Float64Array>();
  const outputs = new Map<string, Float64Array>();
  for (const { name, channels, axis } of tensors) {
    const value = probe.value(name);
    if (!value) continue;
    const flat =
      axis === 'second' ? probe.reshape(value, [0, channels, -1]) : probe.transpose(probe.reshape(value, [1, -1, channels]), [0, 2, 1]);
    const range = new Float64Array(channels);
    ranges.set(name, range);
    outputs.set(probe.output(probe.node('GlobalMaxPool', [probe.node('Abs', [flat])]), 'float32'), range);
  }
  if (ranges.size === 0) return ranges;
  await runAll({ model: probe.pruned(), samples, size: 1, context }, (fetched) => {
    for (const [output, range] of outputs) {
      const tensor = fetched.get(output);
      for (const [at, value] of (tensor ? float32Values(tensor) : []).entries()) {
        const channel = at % range.length;
        if (Number.isFinite(value) && value > (range[channel] ?? 0)) range[channel] = value;
      }
    }
  });
  return ranges;
}
