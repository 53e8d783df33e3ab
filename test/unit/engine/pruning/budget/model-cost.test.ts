/** The cost of a pruned model against the same network built at those widths and counted. */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { Model } from '../../../../../services/engine/ir/index.js';
import { modelBytes } from '../../../../../services/engine/ir/model-bytes.js';
import { countMacs, parameterCount } from '../../../../../services/engine/ops/index.js';
import { ModelCost } from '../../../../../services/engine/pruning/budget/model-cost.js';
import { ValueSizes } from '../../../../../services/engine/pruning/budget/value-sizes.js';
import { observeShapes } from '../../../../../services/engine/runtime/observe-shapes.js';
import { removeScratch, runtime } from '../../quantization/method-fixtures.js';
import { analyzed, fullWidths, orderFromFirst, sampleFeeds, smallNetwork } from '../small-network.js';

afterAll(removeScratch);

async function macsOf(model: Model): Promise<number> {
  return countMacs(model, (await observeShapes(runtime, { model, feeds: sampleFeeds })).shapes).total;
}

describe('the cost of a model as a function of what its groups have lost', () => {
  test('is that of the network built narrower: multiply-accumulates and parameters exactly, bytes within names and dims', async () => {
    const { model, structure, groups, shapes } = await analyzed(fullWidths);
    const orders = groups.map((group) => orderFromFirst(group));
    const cost = new ModelCost({ model, sizes: new ValueSizes(structure, orders), shapes, orders });
    const { stream, inner, hidden } = fullWidths;
    const removals = fc.record({
      stream: fc.integer({ min: 0, max: stream - 1 }),
      inner: fc.integer({ min: 0, max: inner - 1 }),
      hidden: fc.integer({ min: 0, max: hidden - 1 }),
    });
    await fc.assert(
      fc.asyncProperty(removals, async (lost) => {
        const narrow = smallNetwork({ stream: stream - lost.stream, inner: inner - lost.inner, hidden: hidden - lost.hidden });
        const { macs, parameters, bytes } = cost.at([lost.stream, lost.inner, lost.hidden]);
        expect(macs).toBeCloseTo(await macsOf(narrow), 4);
        expect(parameters).toBeCloseTo(parameterCount(narrow), 4);
        expect(Math.abs(bytes - modelBytes(narrow))).toBeLessThan(64);
      }),
      { numRuns: 30 },
    );
  });

  test('is that of the source when nothing is gone', async () => {
    const { model, structure, groups, shapes } = await analyzed(fullWidths);
    const orders = groups.map((group) => orderFromFirst(group));
    const cost = new ModelCost({ model, sizes: new ValueSizes(structure, orders), shapes, orders });
    expect(cost.at([])).toEqual(cost.source);
    expect(cost.source).toEqual({ macs: await macsOf(model), parameters: parameterCount(model), bytes: modelBytes(model) });
  });
});
