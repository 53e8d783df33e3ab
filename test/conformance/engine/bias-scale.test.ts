/** The scale of an int32 bias must be s_x * s_w: what each release does when it is not. */
import { expect, it } from 'vitest';
import type { Model } from '../../../services/engine/ir/index.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { QdqModel } from '../../support/qdq-model.js';

const step = 0.06;

function biased(opType: 'Conv' | 'Gemm', factor: number): Model {
  const model = new QdqModel();
  const isConv = opType === 'Conv';
  const x = model.pair(model.input('x', isConv ? [1, 4, 6, 6] : [3, 16]), { scale: 0.025, zeroPoint: 128 });
  const weight = isConv ? model.weight('w', [8, 4, 3, 3], { axis: 0 }) : model.weight('w', [16, 8], { axis: 1 });
  const bias = model.bias('b', 8, { scales: weight.scales, input: 0.025, factor });
  return model.output(model.pair(model.node(opType, [x, weight.value, bias]), { scale: step, zeroPoint: 120 })).build();
}

onEachRelease((runtime, release) => {
  const error = async (model: Model): Promise<number> => {
    const feeds = feedsFor(model);
    return distance(await runtime().run(model, feeds), await runtime().run(model, feeds, { level: 'disabled' }));
  };

  it.each(['Conv', 'Gemm'] as const)('%s with the right scale fuses and is right', async (opType) => {
    const model = biased(opType, 1);
    expect((await runtime().operators(model)).DequantizeLinear).toBe(1);
    expect(await error(model)).toBeLessThanOrEqual(step * 1.001);
  });

  it('Conv with a wrong scale: 1.24 fuses it and is silently wrong, 1.30 leaves it in float and is right', async () => {
    const model = biased('Conv', 20);
    const isFused = (await runtime().operators(model)).QLinearConv === 1;
    expect(isFused).toBe(release === '1.24');
    if (isFused) expect(await error(model)).toBeGreaterThan(2 * step);
    else expect(await error(model)).toBeLessThanOrEqual(step * 1.001);
  });

  it('Gemm with a wrong scale is fused and silently wrong in both', async () => {
    const model = biased('Gemm', 20);
    expect((await runtime().operators(model))['com.microsoft:QGemm']).toBe(1);
    expect(await error(model)).toBeGreaterThan(2 * step);
  });
});
