/** Noise that is expected from statistics, against noise that is measured by running float models with single things rounded. */
import { afterAll, describe, expect, it } from 'vitest';
import { openSwitchable, type SwitchableSite } from '../../../../../services/engine/evaluation/switchable-model.js';
import { attributeOf, float32Tensor, float32Values, type Model, type Tensor, type Value } from '../../../../../services/engine/ir/index.js';
import { activationRanges } from '../../../../../services/engine/quantization/static/activation-ranges.js';
import { expectedNoise } from '../../../../../services/engine/quantization/static/expected-noise.js';
import { realWeights } from '../../../../../services/engine/quantization/static/layer-sites.js';
import { observe } from '../../../../../services/engine/quantization/static/observed-tensors.js';
import { type QuantizedParts, quantizeLayers, searchUnits } from '../../../../../services/engine/quantization/static/static-candidate.js';
import { pseudoRandom } from '../../../../../services/engine/runtime/pseudo-random.js';
import { removeScratch } from '../method-fixtures.js';
import { NetworkBuilder, samplesOf, staticContext } from './static-fixtures.js';

afterAll(removeScratch);

const PLACES = 400;
const gauss = (seed: number): Tensor => {
  const random = pseudoRandom(seed + 1);
  return float32Tensor(
    [1, 6, 20, 20],
    Float32Array.from({ length: 6 * PLACES }, () => random.normal()),
  );
};
const samples = samplesOf(gauss);
const context = staticContext(samples);

async function known(model: Model) {
  const { units } = searchUnits(model, {});
  const observed = await observe(model, { options: {}, samples, context });
  const parameters = activationRanges({ units, calibrated: observed.ranges, options: {} });
  const codes = quantizeLayers(units, { parameters, statistics: observed.statistics, roundings: new Map(), options: {}, context });
  const parts: QuantizedParts = { parameters, codes, ranks: observed.ranks };
  return { units, parts, noise: expectedNoise({ units, parts, statistics: observed.statistics }) };
}

/** Mean over the channels of noise power over variance, at the output of the model. */
async function measured(model: Model, site: SwitchableSite, channels: number): Promise<number> {
  const switchable = await openSwitchable(model, [site], context);
  const sums = Array.from({ length: channels }, () => ({ noise: 0, value: 0, square: 0, count: 0 }));
  for await (const { feeds } of samples.runs(1)) {
    const [[exact], [rounded]] = [
      [...(await switchable.run(feeds, new Map())).values()],
      [...(await switchable.run(feeds, new Map([[site.id, 0]]))).values()],
    ];
    if (!exact || !rounded) throw new Error('no output');
    const [y, z] = [float32Values(exact), float32Values(rounded)];
    for (const [at, value] of y.entries()) {
      const sum = sums[Math.floor(at / (y.length / channels))];
      if (!sum) continue;
      sum.noise += (value - (z[at] ?? Number.NaN)) ** 2;
      sum.value += value;
      sum.square += value ** 2;
      sum.count += 1;
    }
  }
  await switchable.close();
  return sums.reduce((total, { noise, value, square, count }) => total + noise / (square - value ** 2 / count), 0) / channels;
}

function activation(tensor: string, { parameters }: QuantizedParts): SwitchableSite {
  const known = parameters.get(tensor);
  if (!known) throw new Error(`${tensor} was not calibrated`);
  return {
    id: 'site',
    alternatives: [{ activations: [{ tensor, scale: known.scale, zeroPoint: known.zeroPoint, dataType: known.type }] }],
  };
}

const near = (ratio: number): void => {
  expect(ratio).toBeGreaterThan(0.85);
  expect(ratio).toBeLessThan(1.15);
};

describe('expected noise', () => {
  it('of the input, the weights and the result of a convolution is what rounding each of them alone brings', async () => {
    const net = new NetworkBuilder();
    const result = net.conv(net.input('x', ['n', 6, 20, 20]), [6, 8], { kernel: 1 });
    const { model } = net.output(result, ['n', 8, 20, 20]);
    const { units, parts, noise } = await known(model);
    const [unit] = units;
    const { layer, name = '' } = unit ?? {};
    const codes = parts.codes.get(name);
    if (!layer || !codes) throw new Error('no layer');
    near((noise.tensors.get('x') ?? 0) / (await measured(model, activation('x', parts), 8)));
    near((noise.tensors.get(result.name) ?? 0) / (await measured(model, activation(result.name, parts), 8)));
    const weights = { value: layer.weight.value.name, quantized: realWeights(layer, codes) };
    near((noise.weights.get(name) ?? 0) / (await measured(model, { id: 'site', alternatives: [{ weights: [weights] }] }, 8)));
  });

  it('is large where one range holds channels of different sizes, and a layer takes them one by one', async () => {
    const worst = async (scales: readonly number[]): Promise<number> => {
      const net = new NetworkBuilder();
      const scaled = (x: Value, by: readonly number[]): Value =>
        net.node('Conv', [x, net.constant(`scale_${by[5]}`, float32Tensor([6, 1, 1, 1], Float32Array.from(by)))], {
          group: attributeOf.int(6),
        });
      const wide = net.node('Relu', [scaled(net.input('x', ['n', 6, 20, 20]), scales)]);
      const even = scaled(
        wide,
        scales.map((scale) => 1 / scale),
      );
      const { noise } = await known(net.output(even, ['n', 6, 20, 20]).model);
      return noise.tensors.get(wide.name) ?? 0;
    };
    expect(await worst([1, 1, 1, 1, 1, 1.5])).toBeLessThan(1e-3);
    expect(await worst([1, 1, 1, 1, 1, 300])).toBeGreaterThan(0.5);
  });

  it('is unknown of layers whose input was not seen', async () => {
    const net = new NetworkBuilder();
    const { model } = net.output(net.conv(net.input('x', ['n', 6, 20, 20]), [6, 8]), ['n', 8, 20, 20]);
    const { units, parts } = await known(model);
    const noise = expectedNoise({ units, parts, statistics: new Map() });
    expect([noise.tensors.size, noise.weights.size]).toEqual([0, 0]);
  });
});
