/** Which samples a step takes: a shuffled order for each epoch that follows from the seed alone. */
import { randomStream } from './random-stream.js';

export interface SampleOrder {
  readonly seed: number;
  readonly sampleCount: number;
  readonly batchSize: number;
}

/** Full batches of an epoch; what is left over waits for another epoch. One, when there are fewer samples than a batch takes. */
export function batchesPerEpoch({ sampleCount, batchSize }: Omit<SampleOrder, 'seed'>): number {
  return Math.max(1, Math.floor(sampleCount / batchSize));
}

/**
 * The samples of each batch of `epoch` (from 0). No sample comes twice, unless there are fewer than a batch takes: then the
 * one batch holds all, and goes on with the first ones of the order until it is full. Throws RangeError for no samples.
 */
export function epochBatches(order: SampleOrder, epoch: number): Uint32Array[] {
  const { seed, sampleCount, batchSize } = order;
  if (!(sampleCount > 0 && batchSize > 0)) throw new RangeError(`epochBatches: ${sampleCount} samples in batches of ${batchSize}`);
  const samples = shuffled(sampleCount, seed, epoch);
  return Array.from({ length: batchesPerEpoch(order) }, (_, batch) =>
    sampleCount < batchSize
      ? Uint32Array.from({ length: batchSize }, (_, at) => samples[at % sampleCount] ?? 0)
      : samples.subarray(batch * batchSize, (batch + 1) * batchSize),
  );
}

/** Fisher and Yates 1938, in the form of Durstenfeld 1964. */
function shuffled(count: number, seed: number, epoch: number): Uint32Array {
  const random = randomStream(seed, epoch);
  const order = Uint32Array.from({ length: count }, (_, at) => at);
  for (let last = count - 1; last > 0; last--) {
    const other = random.below(last + 1);
    const moved = order[last] ?? 0;
    order[last] = order[other] ?? 0;
    order[other] = moved;
  }
  return order;
}
