/** A layer left in float between int8 layers keeps its weights bit for bit, although the runtime quantizes float weights between codes by itself. */
import { afterAll, expect, it } from 'vitest';
import { cloneModel, type Model } from '../../../services/engine/ir/index.js';
import { staticInt8 } from '../../../services/engine/quantization/index.js';
import { buildModel, weights } from '../../support/build-model.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { QdqModel } from '../../support/qdq-model.js';
import { context, removeScratch } from '../../unit/engine/quantization/repair/repair-fixtures.js';

afterAll(removeScratch);

const withoutPass = { 'optimization.disable_specified_optimizers': 'WeightBiasQuantization' };

/** Three convolutions with Relu between them. */
function chain(): Model {
  const conv = (input: string, at: number, output: string) => ({
    opType: 'Conv',
    name: `conv${at}`,
    inputs: [input, `w${at}`],
    outputs: [output],
  });
  return buildModel({
    inputs: [{ name: 'x', shape: [1, 8, 12, 12] }],
    outputs: [{ name: 'y', shape: null }],
    constants: { w1: weights([16, 8, 3, 3], 1), w2: weights([16, 16, 3, 3], 2), w3: weights([8, 16, 3, 3], 3) },
    nodes: [
      conv('x', 1, 'a'),
      { opType: 'Relu', inputs: ['a'], outputs: ['ra'] },
      conv('ra', 2, 'b'),
      { opType: 'Relu', inputs: ['b'], outputs: ['rb'] },
      conv('rb', 3, 'y'),
    ],
  });
}

onEachRelease((runtime) => {
  const effectOfPass = async (model: Model): Promise<number> => {
    const feeds = feedsFor(model);
    return distance(await runtime().run(model, feeds), await runtime().run(model, feeds, { config: withoutPass }));
  };

  it('a float weight between codes is quantized by the runtime: the numbers change', async () => {
    const model = new QdqModel();
    const codes = { scale: 0.025, zeroPoint: 128 };
    const x = model.pair(model.input('x', [1, 4, 6, 6]), codes);
    const y = model.node('Conv', [x, model.constant('w', weights([4, 4, 1, 1], 2))]);
    expect(await effectOfPass(model.output(model.pair(y, codes)).build())).toBeGreaterThan(0);
  });

  it('static-int8 guards the layer that it leaves in float: with and without the pass the outputs are equal bit for bit', async () => {
    const source = chain();
    const model = cloneModel(source);
    await staticInt8(model, { exclude: ['conv2'] }, { ...(await context(source)), objective: 'size' });
    const operators = await runtime().operators(model);
    expect(operators).toMatchObject({ QLinearConv: 2 });
    expect((operators.Conv ?? 0) + (operators['com.microsoft:FusedConv'] ?? 0)).toBe(1);
    expect(await effectOfPass(model)).toBe(0);
  });
});
