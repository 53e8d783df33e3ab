/** Means over height and width as pools: the same answers, with and without kept axes, and nothing else touched. */
import { afterAll, describe, expect, it } from 'vitest';
import { attributeOf, cloneModel, int64Tensor, type Model } from '../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../services/engine/ir/verify-graph.js';
import { poolSpatialMeans } from '../../../../services/engine/passes/spatial-mean-pooling.js';
import { ModelBuilder, noise, operators, outputsOf, removeScratch } from '../quantization/method-fixtures.js';

afterAll(removeScratch);

function meanOver(axes: readonly number[], keepdims: number, opset: number): Model {
  const builder = new ModelBuilder({ opset });
  const input = builder.node('Relu', [builder.input('x', [1, 4, 6, 5])]);
  const keep = { keepdims: attributeOf.int(keepdims) };
  const mean =
    opset < 18
      ? builder.node('ReduceMean', [input], { ...keep, axes: attributeOf.ints(axes) })
      : builder.node('ReduceMean', [input, builder.constant('axes', int64Tensor([axes.length], axes))], keep);
  return builder.output(builder.node('Neg', [mean])).model;
}

const x = noise([1, 4, 6, 5], 1);

describe('means over height and width', () => {
  for (const opset of [13, 18]) {
    for (const keepdims of [0, 1]) {
      it.each([[[2, 3]], [[-2, -1]]])(`are pools that answer alike, axes %j, keepdims ${keepdims}, operator set ${opset}`, async (axes) => {
        const model = meanOver(axes, keepdims, opset);
        const before = cloneModel(model);
        expect(poolSpatialMeans(model)).toHaveLength(1);
        verifyModel(model);
        expect(operators(model)).toEqual(['Relu', 'GlobalAveragePool', ...(keepdims ? [] : ['Flatten']), 'Neg']);
        const [expected] = await outputsOf(before, { x });
        const [got] = await outputsOf(model, { x });
        expect(got).toHaveLength(expected?.length ?? -1);
        for (const [at, value] of expected?.entries() ?? []) expect(got?.[at]).toBeCloseTo(value, 5);
      });
    }

    it(`over other axes stay, operator set ${opset}`, () => {
      const model = meanOver([1, 2], 1, opset);
      expect(poolSpatialMeans(model)).toEqual([]);
      expect(operators(model)).toEqual(['Relu', 'ReduceMean', 'Neg']);
    });
  }
});
