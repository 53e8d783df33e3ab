/** One DynamicQuantizeLinear that feeds three products stays one node, and each product is an integer product with its scale inside. */
import { expect, it } from 'vitest';
import { float32Tensor, type Model } from '../../../services/engine/ir/index.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { codes, integers, QdqModel } from '../../support/qdq-model.js';

function projections(count: number): Model {
  const model = new QdqModel();
  model.node('DynamicQuantizeLinear', [model.input('x', ['n', 32])], { outputs: ['q', 's', 'z'] });
  for (let at = 0; at < count; at += 1) {
    model.constant(`w${at}`, codes('int8', [32, 8], integers(256, 60, at + 1)));
    model.constant(`wz${at}`, codes('int8', [], [0]));
    const product = model.node('MatMulInteger', ['q', `w${at}`, 'z', `wz${at}`]);
    // Scales differ, as those of real weights do: equal products of scales would be merged into one Mul, which blocks the fusion.
    const factor = model.node('Mul', ['s', model.constant(`ws${at}`, float32Tensor([], [0.01 + at / 1000]))]);
    const widened = model.node('Cast', [product], { attributes: { to: { kind: 'int', value: 1n } } });
    model.output(model.node('Mul', [widened, factor]));
  }
  return model.build();
}

onEachRelease((runtime) => {
  it('three readers: one quantization, three MatMulIntegerToFloat', async () => {
    const model = projections(3);
    expect(await runtime().operators(model)).toEqual({ DynamicQuantizeLinear: 1, 'com.microsoft:MatMulIntegerToFloat': 3 });
    const feeds = feedsFor(model);
    expect(distance(await runtime().run(model, feeds), await runtime().run(model, feeds, { level: 'disabled' }))).toBeLessThan(1e-4);
  });

  it('one reader: DynamicQuantizeMatMul', async () => {
    expect(await runtime().operators(projections(1))).toEqual({ 'com.microsoft:DynamicQuantizeMatMul': 1 });
  });
});
