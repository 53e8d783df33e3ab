/** The order of samples: each at most once in an epoch, another order in each epoch, and the same one whenever it is asked for. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { batchesPerEpoch, epochBatches } from '../../../../services/engine/training/sample-order.js';

const orders = fc.record({ seed: fc.integer(), sampleCount: fc.integer({ min: 1, max: 200 }), batchSize: fc.integer({ min: 1, max: 40 }) });
const flat = (batches: readonly Uint32Array[]): number[] => batches.flatMap((batch) => [...batch]);

describe('epochBatches', () => {
  test('batches are full, and no sample comes twice while there are enough', () => {
    fc.assert(
      fc.property(orders, fc.nat(1000), (order, epoch) => {
        const batches = epochBatches(order, epoch);
        const samples = flat(batches);
        expect(batches.length).toBe(batchesPerEpoch(order));
        expect(batches.every(({ length }) => length === order.batchSize)).toBe(true);
        expect(samples.every((sample) => sample < order.sampleCount)).toBe(true);
        expect(new Set(samples).size).toBe(Math.min(order.sampleCount, samples.length));
        if (order.sampleCount >= order.batchSize) expect(order.sampleCount - samples.length).toBeLessThan(order.batchSize);
      }),
    );
  });

  test('the same seed and epoch give the same order', () => {
    fc.assert(
      fc.property(orders, fc.nat(1000), (order, epoch) => {
        expect(epochBatches(order, epoch)).toEqual(epochBatches(order, epoch));
      }),
    );
  });

  test('fewer samples than a batch takes: one batch with all of them, filled up evenly', () => {
    const [batch, another] = epochBatches({ seed: 1, sampleCount: 3, batchSize: 7 }, 0);
    expect(another).toBeUndefined();
    const counts = [0, 1, 2].map((sample) => [...(batch ?? [])].filter((each) => each === sample).length);
    expect(counts.sort()).toEqual([2, 2, 3]);
  });

  test('every sample comes to every place about equally often, over epochs and over seeds', () => {
    const runs = 6000;
    for (const vary of ['epoch', 'seed'] as const) {
      const counts = Array.from({ length: 5 }, () => new Array<number>(5).fill(0));
      for (let each = 0; each < runs; each++) {
        const order = { seed: vary === 'seed' ? each : 3, sampleCount: 5, batchSize: 1 };
        for (const [place, sample] of flat(epochBatches(order, vary === 'epoch' ? each : 0)).entries()) {
          const row = counts[place] ?? [];
          row[sample] = (row[sample] ?? 0) + 1;
        }
      }
      /** Chi-squared with 16 degrees of freedom exceeds 39.3 once in a thousand; the seeds are fixed. */
      const expected = runs / 5;
      expect(counts.flat().reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0)).toBeLessThan(39.3);
    }
  });

  test('no samples are an error', () => {
    expect(() => epochBatches({ seed: 1, sampleCount: 0, batchSize: 4 }, 0)).toThrow(RangeError);
  });
});
