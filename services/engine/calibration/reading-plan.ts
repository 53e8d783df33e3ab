/** How each tensor is read: reduced in the runtime, with some or all of its values, in bounded memory. */
import { elementCount, type Graph } from '../ir/index.js';
import { derivedTensors, guardTensors } from './derived-tensors.js';
import { STRIDED_OPSET_MIN, type TensorReading } from './observing-graph.js';
import type { ReadingPlan } from './run-observer.js';

/** Values of one tensor and sample that a histogram takes; of larger tensors a part, spread evenly. */
const SAMPLE_VALUES_MAX = 2 ** 16;
/** Values of all tensors in one run: 16 MiB leave the runtime. */
const RUN_VALUES_MAX = 2 ** 22;
/** Primes: a stride shares no factor with the sizes of most axes, so that it meets every channel. */
const STRIDES = [1, 2, 3, 5, 7, 11, 17, 29, 47, 79, 131, 211, 347, 563, 911, 1481, 2393, 3877, 6271, 10_151, 16_421, 26_573] as const;
const STRIDE_MAX = 43_003;
/** From this rank on the channel axis is kept: rows that are reduced in parallel are faster than one long sum. */
const CHANNELED_RANK_MIN = 4;

export interface ReadingRequest {
  readonly graph: Graph;
  readonly opset: number;
  /** Sizes of the tensors in a run of one sample. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  readonly channels: ReadonlyMap<string, number>;
  readonly hasHistograms: boolean;
  readonly hasMoments: boolean;
  /** Samples of one run. */
  readonly batch: number;
  /** Whether every run has the dims of the first. */
  readonly hasFixedDims: boolean;
}

export function planReadings(request: ReadingRequest): ReadingPlan {
  const { graph, dims, channels, hasHistograms, hasMoments } = request;
  const names = new Set(dims.keys());
  const known = derivedTensors(graph, names, { extremesOnly: !hasHistograms && !hasMoments });
  const own = [...names].filter((name) => !known.has(name));
  const guards = guardTensors(graph, new Set(own));
  const rectified = rectifiedTensors(graph);
  const sizes = own.map((name) => sizeOf(request, name));
  const limit = Math.min(SAMPLE_VALUES_MAX * request.batch, sharedLimit(sizes, RUN_VALUES_MAX));
  const readingOf = (name: string): TensorReading => {
    const reduced = reductionsOf(request, name, { isGuard: guards.has(name), isRectified: rectified.has(name) });
    return hasHistograms ? { ...reduced, ...valuesOf(request, sizeOf(request, name), limit) } : reduced;
  };
  /** Channels do not follow, only the extremes. */
  const ofChannels = [...known.keys()]
    .filter((name) => channels.has(name))
    .map((name) => ({ ...readingOf(name), hasMin: false, hasMax: false }));
  return {
    readings: [...own.map(readingOf), ...ofChannels],
    derived: [...known].map(([name, from]) => ({ from, own: readingOf(name) })),
    dims: request.hasFixedDims ? dims : undefined,
  };
}

function rectifiedTensors(graph: Graph): Set<string> {
  const nodes = graph.nodes.filter(({ opType, domain }) => opType === 'Relu' && domain === '');
  return new Set(nodes.flatMap(({ outputs }) => outputs[0]?.name ?? []));
}

function sizeOf({ dims, batch }: ReadingRequest, name: string): number {
  return elementCount(dims.get(name) ?? []) * batch;
}

function reductionsOf(
  { dims, channels, hasMoments }: ReadingRequest,
  name: string,
  { isGuard, isRectified }: { readonly isGuard: boolean; readonly isRectified: boolean },
): TensorReading {
  const rank = dims.get(name)?.length ?? 0;
  const channel = channels.get(name);
  const plain = { name, rank, isWhole: false, hasMin: !isRectified, hasMax: true };
  if (channel !== undefined) {
    const keptAxis = channel < 0 ? channel + rank : channel;
    return { ...plain, keptAxis, hasChannels: true, hasMean: true, hasPower: true };
  }
  const kept = rank < CHANNELED_RANK_MIN ? {} : { keptAxis: 1 };
  return { ...plain, ...kept, hasChannels: false, hasMean: hasMoments || isGuard, hasPower: hasMoments };
}

function valuesOf({ opset }: ReadingRequest, size: number, limit: number): Pick<TensorReading, 'isWhole' | 'stride'> {
  if (size <= limit || opset < STRIDED_OPSET_MIN) return { isWhole: true };
  return { isWhole: false, stride: strideFor(size, limit) };
}

/** A stride that leaves about `limit` of `size` values, spread over all of them. */
export function strideFor(size: number, limit: number): number {
  return STRIDES.find((stride) => size <= stride * limit) ?? STRIDE_MAX;
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
