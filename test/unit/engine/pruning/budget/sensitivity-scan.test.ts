/** Costs in noise at the outputs: those of the masked model where they are measured, never falling between. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { noiseOf } from '../../../../../services/engine/evaluation/layer-sensitivity.js';
import { modelFidelity } from '../../../../../services/engine/evaluation/model-fidelity.js';
import { cloneModel } from '../../../../../services/engine/ir/index.js';
import { rescaled, scanSensitivity } from '../../../../../services/engine/pruning/budget/sensitivity-scan.js';
import { widthLadder } from '../../../../../services/engine/pruning/budget/width-ladder.js';
import { maskUnits } from '../../../../../services/engine/pruning/structure/mask-units.js';
import { contextFor, removeScratch } from '../../quantization/method-fixtures.js';
import { analyzed, fullWidths, networkSamples, orderFromFirst } from '../small-network.js';

afterAll(removeScratch);

const SAMPLES = 8;
const samples = networkSamples(SAMPLES);

describe('the sensitivity of groups', () => {
  test('is the noise of the model in which nothing reads the units, one group at a time', async () => {
    const { model, structure, groups } = await analyzed(fullWidths);
    const orders = groups.map((group) => orderFromFirst(group));
    const ladders = orders.map((order) => widthLadder(order, { roundTo: 1, minChannels: 1, maxRemoved: 0.5 }));
    const context = contextFor('measured');
    const scanned = await scanSensitivity({ model, structure, orders, ladders, samples }, context);
    for (const [at, { group, costs }] of scanned.entries()) {
      const step = ladders[at]?.at(-1) ?? 0;
      const masked = cloneModel(model);
      maskUnits(masked, structure, group.units.slice(0, step));
      const measured = noiseOf(await modelFidelity({ candidate: masked, reference: model }, { source: samples, limit: SAMPLES }, context));
      expect(costs[step]).toBeCloseTo(measured.noise, 3);
      for (let next = 1; next < costs.length; next += 1) expect(costs[next]).toBeGreaterThanOrEqual(costs[next - 1] ?? 0);
    }
  });
});

describe('costs between measured points', () => {
  test('pass through the points, never fall, and follow the criterion between them', () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 0.01, max: 5, noNaN: true }), { minLength: 12, maxLength: 12 }),
        fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.double({ min: 0, max: 1, noNaN: true })),
        (added, [first, second]) => {
          let sum = 0;
          const costs = Float64Array.from([0, ...added.map((each) => (sum += each))]);
          const points = [
            { step: 4, noise: first },
            { step: 9, noise: first + second },
          ];
          const result = rescaled(costs, points);
          for (const { step, noise: expected } of points) expect(result[step]).toBeCloseTo(expected, 9);
          for (let step = 1; step < result.length; step += 1) expect(result[step]).toBeGreaterThanOrEqual((result[step - 1] ?? 0) - 1e-12);
          const share = ((costs[6] ?? 0) - (costs[4] ?? 0)) / ((costs[9] ?? 0) - (costs[4] ?? 0));
          expect(result[6]).toBeCloseTo(first + share * second, 9);
        },
      ),
    );
  });

  test('count noise that falls with more units as what it was', () => {
    const points = [
      { step: 1, noise: 0.5 },
      { step: 2, noise: 0.25 },
    ];
    expect([...rescaled(Float64Array.of(0, 1, 2), points)]).toEqual([0, 0.5, 0.5]);
  });
});
