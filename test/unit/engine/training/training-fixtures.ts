/** Samples in memory, and contexts, for the tests of methods that learn. */
import { float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';
import type { MethodContext, RunSource } from '../../../../services/engine/method.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { contextFor } from '../quantization/method-fixtures.js';

export interface MadeSamples {
  readonly input: string;
  /** Sizes of one sample. */
  readonly dims: readonly number[];
  readonly values: Float32Array;
  /** Classes, or one row of values per sample. */
  readonly classes?: readonly number[];
  readonly targets?: { readonly dims: readonly number[]; readonly values: Float32Array };
}

const size = (dims: readonly number[]): number => dims.reduce((product, each) => product * each, 1);

export function sourceOf({ input, dims, values, classes, targets }: MadeSamples): RunSource {
  const length = size(dims);
  const sampleCount = values.length / length;
  const labels = (from: number, count: number): Tensor | undefined => {
    if (classes) return int64Tensor([count], classes.slice(from, from + count));
    if (!targets) return undefined;
    const width = size(targets.dims);
    return float32Tensor([count, ...targets.dims], targets.values.slice(from * width, (from + count) * width));
  };
  return {
    sampleCount,
    fixedBatch: null,
    sampleBytes: 4 * length,
    async *runs(rows, limit = sampleCount) {
      const end = Math.min(limit, sampleCount);
      for (let from = 0; from < end; from += rows) {
        const count = Math.min(rows, end - from);
        const part = float32Tensor([count, ...dims], values.slice(from * length, (from + count) * length));
        const known = labels(from, count);
        yield { feeds: new Map([[input, part]]), rows: count, sampleCount: count, ...(known ? { labels: known } : {}) };
      }
    },
  };
}

export function learningContext(source: RunSource, more: Partial<MethodContext> = {}): MethodContext {
  return { ...contextFor('measured'), calibration: source, ...more };
}

/** Points around one center per class. */
export function blobs({
  count,
  features,
  classes,
  seed = 1,
}: {
  count: number;
  features: number;
  classes: number;
  seed?: number;
}): MadeSamples {
  const random = pseudoRandom(seed);
  const centers = Array.from({ length: classes }, () => Float32Array.from({ length: features }, () => 2 * random.normal()));
  const chosen = Array.from({ length: count }, () => random.below(classes));
  const values = Float32Array.from({ length: count * features }, (_, at) => {
    const center = centers[chosen[Math.floor(at / features)] ?? 0];
    return (center?.[at % features] ?? 0) + random.normal();
  });
  return { input: 'x', dims: [features], values, classes: chosen };
}
