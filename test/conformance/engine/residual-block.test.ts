/** A residual block with uint8 activations is computed on codes from end to end; with int8 activations it is not. */
import { expect, it } from 'vitest';
import { attributeOf, type Model } from '../../../services/engine/ir/index.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { type Parameters, QdqModel } from '../../support/qdq-model.js';

function residual(parameters: Parameters): Model {
  const model = new QdqModel();
  const attributes = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const conv = (x: string, seed: number): string =>
    model.pair(model.node('Conv', [x, model.weight(`w${seed}`, [4, 4, 3, 3], { axis: 0, seed }).value], { attributes }), parameters);
  const first = conv(model.pair(model.input('x', [1, 4, 8, 8]), parameters), 1);
  const second = conv(conv(first, 2), 3);
  return model.output(model.pair(model.node('Add', [second, first]), parameters)).build();
}

onEachRelease((runtime) => {
  it('uint8: every convolution and the addition', async () => {
    const model = residual({ scale: 0.05, zeroPoint: 128 });
    expect(await runtime().operators(model)).toEqual({
      QuantizeLinear: 1,
      QLinearConv: 3,
      'com.microsoft:QLinearAdd': 1,
      DequantizeLinear: 1,
    });
    const [fused, own] = [await runtime().run(model, feedsFor(model)), await runtime().run(model, feedsFor(model), { level: 'disabled' })];
    expect(distance(fused, own)).toBeLessThanOrEqual(0.05 * 1.001);
  });

  it.skipIf(process.arch !== 'x64')('int8 on x64: what touches the tensor with two readers stays in float', async () => {
    const operators = await runtime().operators(residual({ scale: 0.05, type: 'int8' }));
    expect(operators.Conv).toBeGreaterThan(0);
    expect(operators.DequantizeLinear).toBeGreaterThan(1);
  });
});
