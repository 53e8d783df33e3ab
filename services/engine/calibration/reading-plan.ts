/** How each tensor is read: reduced in the runtime, with some or all of its values, in bounded memory. */
import { elementCount } from '../ir/index.js';
import { STRIDED_OPSET_MIN, type TensorReading } from './observing-graph.js';

/** Values of one tensor and sample that a histogram takes; of larger tensors a part, spread evenly. */
const SAMPLE_VALUES_MAX = 2 ** 16;
/** Values of all tensors in one run: 16 MiB leave the runtime. */
const RUN_VALUES_MAX = 2 ** 22;
/** Primes: a stride shares no factor with the sizes of most axes, so that it meets every channel. */
const STRIDES = [1, 2, 3, 5, 7, 11, 17, 29, 47, 79, 131, 211, 347, 563, 911, 1481, 2393, 3877, 6271, 10_151, 16_421, 26_573];

export interface ReadingRequest {
  /** Sizes of the tensors in a run of one sample. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  readonly channels: ReadonlyMap<string, number>;
  readonly hasHistograms: boolean;
  /** Samples of one run. */
  readonly batch: number;
  readonly opset: number;
}

export function planReadings({ dims, channels, hasHistograms, batch, opset }: ReadingRequest): TensorReading[] {
  const sizes = [...dims.values()].map((each) => elementCount(each) * batch);
  const limit = Math.min(SAMPLE_VALUES_MAX * batch, sharedLimit(sizes, RUN_VALUES_MAX));
  return [...dims].map(([name, size]) => {
    const channelAxis = channels.get(name);
    const reading = { name, rank: size.length, ...(channelAxis === undefined ? {} : { channelAxis }) };
    if (!hasHistograms) return { ...reading, isWhole: false };
    const stride = strideFor(elementCount(size) * batch, limit);
    return stride === 1 || opset < STRIDED_OPSET_MIN ? { ...reading, isWhole: true } : { ...reading, isWhole: false, stride };
  });
}

/** The largest limit with sum min(size, limit) <= total: small tensors leave their share to large ones. */
function sharedLimit(sizes: readonly number[], total: number): number {
  let left = total;
  for (const [at, size] of sizes.toSorted((a, b) => a - b).entries()) {
    const share = left / (sizes.length - at);
    if (size > share) return Math.max(1, Math.floor(share));
    left -= size;
  }
  return Number.MAX_SAFE_INTEGER;
}

function strideFor(size: number, limit: number): number {
  return STRIDES.find((stride) => size <= stride * limit) ?? (STRIDES.at(-1) as number);
}
