/** A layer that mixed precision leaves in float keeps its weights bit for bit: the runtime quantizes float weights between codes by itself. */
import { expect, it } from 'vitest';
import type { Model } from '../../../services/engine/ir/index.js';
import { weights } from '../../support/build-model.js';
import { distance, feedsFor, onEachRelease } from '../../support/ort-release.js';
import { QdqModel } from '../../support/qdq-model.js';

const disabled = { 'optimization.disable_specified_optimizers': 'WeightBiasQuantization' };
const codes = { scale: 0.025, zeroPoint: 128 };

/** int8 Conv -> float Conv -> int8 Conv; `isGuarded` leaves out the conversions around the float layer. */
function mixed(isGuarded: boolean): Model {
  const model = new QdqModel();
  const first = model.pair(
    model.node('Conv', [model.pair(model.input('x', [1, 4, 6, 6]), codes), model.weight('w1', [4, 4, 1, 1], { axis: 0 }).value]),
    codes,
  );
  // The guard: nothing tells the runtime that the float layer lies between codes, because an operator without integer form stands between.
  const float = model.node('Conv', [isGuarded ? model.node('Identity', [first]) : first, model.constant('w2', weights([4, 4, 1, 1], 2))]);
  const output = isGuarded ? model.node('Mul', [float, model.constant('one', weights([1, 4, 1, 1], 5))]) : model.pair(float, codes);
  return model.output(isGuarded ? output : output).build();
}

onEachRelease((runtime) => {
  const effectOfPass = async (model: Model): Promise<number> => {
    const feeds = feedsFor(model);
    return distance(await runtime().run(model, feeds), await runtime().run(model, feeds, { config: disabled }));
  };

  it('between codes the runtime quantizes the float weight: the numbers change', async () => {
    expect(await effectOfPass(mixed(false))).toBeGreaterThan(0);
  });

  it('without QuantizeLinear behind it the weight stays as it is, bit for bit', async () => {
    expect(await effectOfPass(mixed(true))).toBe(0);
  });
});
