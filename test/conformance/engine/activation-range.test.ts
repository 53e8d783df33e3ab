/** Relu or Clip between an operator and QuantizeLinear: fused exactly when the range makes it redundant (onnxruntime.md 1.2, rule 4). */
import { expect, it } from 'vitest';
import { float32Tensor, type Model } from '../../../services/engine/ir/index.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { type Parameters, QdqModel } from '../../support/qdq-model.js';

function activated(activation: 'Relu' | 'Clip', output: Parameters): Model {
  const model = new QdqModel();
  const x = model.pair(model.input('x', [1, 4, 6, 6]), { scale: 0.025, zeroPoint: 128 });
  const conv = model.node('Conv', [x, model.weight('w', [4, 4, 3, 3], { axis: 0 }).value]);
  const bounds =
    activation === 'Clip' ? [model.constant('low', float32Tensor([], [0])), model.constant('high', float32Tensor([], [6]))] : [];
  return model.output(model.pair(model.node(activation, [conv, ...bounds]), output)).build();
}

const fusing = {
  'Relu, zero point 0': activated('Relu', { scale: 0.02 }),
  'Clip to 6, codes from 0 to 6': activated('Clip', { scale: 6 / 255 }),
  'Clip to 6, codes end below 6': activated('Clip', { scale: 4 / 255 }),
};
const blocking = {
  'Relu, zero point above the smallest code': activated('Relu', { scale: 0.02, zeroPoint: 10 }),
  'Clip to 6, codes reach beyond 6': activated('Clip', { scale: 8 / 255 }),
  'Clip to 6, codes reach below 0': activated('Clip', { scale: 6 / 255, zeroPoint: 3 }),
};

onEachRelease((runtime) => {
  it.each(Object.entries(fusing))('%s: the convolution works on codes', async (_name, model) => {
    expect(await runtime().operators(model)).toEqual({ QuantizeLinear: 1, QLinearConv: 1, DequantizeLinear: 1 });
    const [fused, own] = [await runtime().run(model, feedsFor(model)), await runtime().run(model, feedsFor(model), { level: 'disabled' })];
    expect(distance(fused, own)).toBeLessThanOrEqual(0.025);
  });

  it.each(Object.entries(blocking))('%s: the convolution stays in float', async (_name, model) => {
    const operators = await runtime().operators(model);
    expect(operators.QLinearConv).toBeUndefined();
    expect(operators.DequantizeLinear).toBeGreaterThan(1);
  });
});
