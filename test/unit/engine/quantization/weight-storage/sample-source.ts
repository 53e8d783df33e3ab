/** Calibration samples that a test holds in memory, as a RunSource: each a tensor with the batch as its first axis. */
import { float32Tensor, float32Values, type Tensor } from '../../../../../services/engine/ir/index.js';
import type { RunSource } from '../../../../../services/engine/method.js';

/** Samples of one float32 input: `values` is [samples, ...]. */
export function samplesOf(input: string, values: Tensor): RunSource {
  const [sampleCount = 0, ...dims] = values.dims;
  const all = float32Values(values);
  const size = all.length / sampleCount;
  return {
    sampleCount,
    fixedBatch: null,
    sampleBytes: 4 * size,
    async *runs(count, limit = sampleCount) {
      const end = Math.min(limit, sampleCount);
      for (let at = 0; at < end; at += count) {
        const rows = Math.min(count, end - at);
        const feeds = new Map([[input, float32Tensor([rows, ...dims], all.slice(at * size, (at + rows) * size))]]);
        yield { feeds, rows, sampleCount: rows };
      }
    },
  };
}
