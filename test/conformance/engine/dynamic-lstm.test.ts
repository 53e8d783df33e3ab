/** LSTM: what dynamic-int8 emits runs as DynamicQuantizeLSTM and stays close to the float layer. */
import { expect, it } from 'vitest';
import { attributeOf, cloneModel, type Model } from '../../../services/engine/ir/index.js';
import { dynamicInt8 } from '../../../services/engine/quantization/index.js';
import { buildModel, weights } from '../../support/build-model.js';
import { feedsFor, onEachRelease } from '../../support/ort-release.js';
import { contextFor, sqnr } from '../../unit/engine/quantization/method-fixtures.js';

function lstm(direction: 'forward' | 'bidirectional'): Model {
  const directions = direction === 'forward' ? 1 : 2;
  const [width, hidden] = [12, 16];
  return buildModel({
    inputs: [{ name: 'x', shape: [5, 'batch', width] }],
    outputs: [{ name: 'y', shape: null }],
    constants: {
      w: weights([directions, 4 * hidden, width], 1),
      r: weights([directions, 4 * hidden, hidden], 2),
      b: weights([directions, 8 * hidden], 3),
    },
    nodes: [
      {
        opType: 'LSTM',
        inputs: ['x', 'w', 'r', 'b'],
        outputs: ['y'],
        attributes: { hidden_size: attributeOf.int(hidden), direction: attributeOf.string(direction) },
      },
    ],
  });
}

onEachRelease((runtime) => {
  it.each(['forward', 'bidirectional'] as const)('%s', async (direction) => {
    const source = lstm(direction);
    const model = cloneModel(source);
    await dynamicInt8(model, { per_channel: true }, contextFor('integer'));
    expect(await runtime().operators(model)).toEqual({ 'com.microsoft:DynamicQuantizeLSTM': 1 });
    const feeds = feedsFor(source);
    const [own, exact] = [await runtime().run(model, feeds), await runtime().run(source, feeds)].map(([output]) => output?.data);
    if (!(own instanceof Float32Array) || !(exact instanceof Float32Array)) throw new Error('float outputs');
    expect(sqnr(exact, own)).toBeGreaterThan(25);
  });
});
