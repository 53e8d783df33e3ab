/** Embeddings: what dynamic-int8 emits looks codes up and dequantizes the rows only; the table itself is never dequantized. */
import { expect, it } from 'vitest';
import { cloneModel, type Model } from '../../../services/engine/ir/index.js';
import { dynamicInt8 } from '../../../services/engine/quantization/index.js';
import { buildModel, weights } from '../../support/build-model.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { codes, integers, QdqModel } from '../../support/qdq-model.js';
import { contextFor } from '../../unit/engine/quantization/method-fixtures.js';

const rows = 1000;

function embedding(): Model {
  return buildModel({
    inputs: [{ name: 'ids', dataType: 'int64', shape: [2, 'n'] }],
    outputs: [{ name: 'y', shape: null }],
    constants: { table: weights([rows, 16]) },
    nodes: [{ opType: 'Gather', inputs: ['table', 'ids'], outputs: ['y'] }],
  });
}

onEachRelease((runtime) => {
  it('the emitted lookup has no conversion of the table, and its rows are within half a step', async () => {
    const source = embedding();
    const model = cloneModel(source);
    await dynamicInt8(model, {}, contextFor('integer'));
    expect([...model.graph.initializers.values()].some(({ dataType, dims }) => dataType === 'int8' && dims[0] === rows)).toBe(true);
    const feeds = feedsFor(source);
    // Weights in [-1, 1] in 127 steps: half a step is 1 / 254.
    expect(distance(await runtime().run(model, feeds), await runtime().run(source, feeds))).toBeLessThanOrEqual(1 / 254 + 1e-6);
  });

  it('DequantizeLinear behind Gather works on the rows; in front of it the runtime keeps the table in front', async () => {
    const build = (isBehind: boolean): Model => {
      const model = new QdqModel();
      const ids = model.input('ids', [2, 'n'], 'int64');
      const table = model.constant('table', codes('int8', [rows, 16], integers(16 * rows, 100)));
      const parameters = { scale: 0.01, type: 'int8' } as const;
      if (isBehind) return model.output(model.dequantize(model.node('Gather', [table, ids]), parameters)).build();
      return model.output(model.node('Gather', [model.dequantize(table, parameters), ids])).build();
    };
    const feeds = feedsFor(build(true));
    expect(await runtime().operators(build(true))).toEqual({ Gather: 1, DequantizeLinear: 1 });
    expect(distance(await runtime().run(build(true), feeds), await runtime().run(build(false), feeds))).toBe(0);
  });
});
