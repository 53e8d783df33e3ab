import { afterAll, describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { meanOutputs } from '../../../../services/engine/normal-equations/mean-outputs.js';
import { contextFor, ModelBuilder, noise, removeScratch } from '../quantization/method-fixtures.js';
import { samplesOf } from '../quantization/weight-storage/sample-source.js';

afterAll(removeScratch);

describe('meanOutputs', () => {
  it('is the mean over samples and positions, for channels in the second and in the last place, of all runs together', async () => {
    for (const [axis, dims] of [
      ['second', [3, 4, 5]],
      ['last', [4, 5, 3]],
    ] as const) {
      const builder = new ModelBuilder({ opset: 8, irVersion: 3 });
      const y = builder.node('Relu', [builder.input('x', ['n', ...dims])]);
      const model = builder.output(builder.node('Neg', [y])).model;
      const samples = noise([70, ...dims], 3);
      const request = {
        model,
        tensors: [{ name: y.name, channels: 3, axis }],
        samples: samplesOf('x', samples),
        context: contextFor('measured'),
      };
      const found = (await meanOutputs(request)).get(y.name);
      const sums = [0, 0, 0];
      for (const [at, value] of float32Values(samples).entries()) {
        const channel = axis === 'second' ? Math.floor(at / 20) % 3 : at % 3;
        sums[channel] = (sums[channel] ?? 0) + Math.max(0, value);
      }
      for (const [channel, sum] of sums.entries()) expect(found?.[channel]).toBeCloseTo(sum / (70 * 20), 5);
    }
  });

  it('leaves out what the main graph does not make', async () => {
    const builder = new ModelBuilder();
    const model = builder.output(builder.node('Relu', [builder.input('x', ['n', 2])])).model;
    const tensors = [{ name: 'elsewhere', channels: 2, axis: 'second' as const }];
    expect((await meanOutputs({ model, tensors, samples: samplesOf('x', noise([1, 2], 1)), context: contextFor('measured') })).size).toBe(
      0,
    );
  });
});
