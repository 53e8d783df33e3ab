/** MatMul and a float bias without QuantizeLinear behind them: on codes when the sequence length is open, in float as one matrix or with fixed sizes. */
import { expect, it } from 'vitest';
import type { Model } from '../../../services/engine/ir/index.js';
import { weights } from '../../support/build-model.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { QdqModel } from '../../support/qdq-model.js';

function linear(rows: readonly (number | string)[], quantizedOutput = false): Model {
  const model = new QdqModel();
  const x = model.pair(model.input('x', [...rows, 16]), { scale: 0.025, zeroPoint: 128 });
  const product = model.node('MatMul', [x, model.weight('w', [16, 8], { axis: 1 }).value]);
  const sum = model.node('Add', [product, model.constant('b', weights([8]))]);
  return model.output(quantizedOutput ? model.pair(sum, { scale: 0.06, zeroPoint: 120 }) : sum).build();
}

onEachRelease((runtime) => {
  it('open batch and length: MatMulIntegerToFloat, equal to float arithmetic', async () => {
    const model = linear(['batch', 'length']);
    expect(await runtime().operators(model)).toMatchObject({ 'com.microsoft:MatMulIntegerToFloat': 1 });
    const feeds = feedsFor(model);
    expect(distance(await runtime().run(model, feeds), await runtime().run(model, feeds, { level: 'disabled' }))).toBeLessThan(1e-4);
  });

  it.each([[[3]], [['batch']]])(
    'one matrix of %j rows: a float Gemm that dequantizes its weight in every run, unless MatMulAddFusion is off',
    async (rows) => {
      expect(await runtime().operators(linear(rows))).toMatchObject({ Gemm: 1, DequantizeLinear: 2 });
      const config = { 'optimization.disable_specified_optimizers': 'MatMulAddFusion' };
      expect(await runtime().operators(linear(rows), config)).toMatchObject({ 'com.microsoft:MatMulIntegerToFloat': 1 });
    },
  );

  it('a fixed batch with a quantized output: QGemm', async () => {
    expect(await runtime().operators(linear([3], true))).toMatchObject({ 'com.microsoft:QGemm': 1, DequantizeLinear: 1 });
  });
});
