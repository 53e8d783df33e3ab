/** Cross-layer scaling: exact where it is applied, and applied only where it is exact. */
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, cloneModel, float32Tensor, float32Values, type Model, type Value } from '../../../../services/engine/ir/index.js';
import { channelFactors } from '../../../../services/engine/precision/channel-factors.js';
import { crossLayerScaling } from '../../../../services/engine/precision/index.js';
import { scalingGroups } from '../../../../services/engine/precision/scaling-groups.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from '../training/training-fixtures.js';

afterAll(removeScratch);

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
const images = noise([8, 2, 6, 6], 5);
const source = sourceOf({ input: 'x', dims: [2, 6, 6], values: float32Values(images) });

class Network extends ModelBuilder {
  private layers = 0;
  readonly x = this.input('x', ['n', 2, 6, 6]);

  /** Output channel c is larger by `growth`^c. */
  conv(from: Value, inputs: number, outputs: number, growth = 1): Value {
    const at = ++this.layers;
    const scaled = (dims: readonly number[], seed: number): ReturnType<typeof noise> => {
      const values = float32Values(noise(dims, seed));
      const each = values.length / outputs;
      return float32Tensor(
        dims,
        values.map((value, index) => value * growth ** Math.floor(index / each)),
      );
    };
    const weight = this.constant(`w${at}`, scaled([outputs, inputs, 3, 3], at));
    return this.node('Conv', [from, weight, this.constant(`b${at}`, scaled([outputs], at + 50))], pads);
  }
}

/** One of each homogeneous operator between layers, a residual sum, a branch that two layers read, and a transposed convolution. */
function everything(): Model {
  const net = new Network();
  const slopes = net.constant('slopes', noise([4, 1, 1], 9));
  const stem = net.node('Relu', [net.conv(net.x, 2, 4, 2)]);
  const left = net.node('PRelu', [net.conv(stem, 4, 4, 3), slopes]);
  const right = net.conv(stem, 4, 4, 1.5);
  const sum = net.node('Add', [left, right]);
  const leaky = net.node('LeakyRelu', [net.conv(sum, 4, 4, 3)], { alpha: attributeOf.float(0.2) });
  const linear = net.conv(leaky, 4, 4, 2);
  const up = net.node('ConvTranspose', [linear, net.constant('up', noise([4, 3, 2, 2], 31))], { strides: attributeOf.ints([2, 2]) });
  return net.output(up, ['n', 3, 12, 12]).model;
}

async function largestDifference(before: Model, after: Model): Promise<number> {
  const [expected = new Float32Array()] = await outputsOf(before, { x: images });
  const [found = new Float32Array()] = await outputsOf(after, { x: images });
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return expected.reduce((most, value, at) => Math.max(most, Math.abs(value - (found[at] ?? Number.NaN))), 0) / largest;
}

describe('cross-layer scaling', () => {
  test.each([0, 0.5, 1])('computes the same with exponent %d, over every homogeneous operator, branches and sums', async (exponent) => {
    const scaled = everything();
    const { nodes } = await crossLayerScaling(scaled, { exponent }, learningContext(source));
    expect(nodes.map(({ op_type }) => op_type)).toEqual(expect.arrayContaining(['Conv', 'ConvTranspose']));
    expect(nodes).toHaveLength(6);
    expect(await largestDifference(everything(), scaled)).toBeLessThan(1e-5);
  });

  test('lets the exponent be found by what is left at the outputs', async () => {
    const net = new Network();
    const hidden = net.node('Relu', [net.conv(net.x, 2, 6, 4)]);
    const model = net.output(net.conv(hidden, 6, 2)).model;
    const { nodes } = await crossLayerScaling(model, { activation_bits: 4, weight_bits: 8 }, learningContext(source));
    expect(nodes).toHaveLength(2);
    expect(nodes[0]?.reason).toMatch(/exponent [\d.]+ together/);
  });

  test('finds one group for a sum and all that read it', () => {
    const groups = scalingGroups(everything());
    expect(groups.map(({ producers, consumers }) => [producers.length, consumers.length])).toEqual(
      expect.arrayContaining([
        [1, 2],
        [2, 1],
      ]),
    );
  });

  test('leaves alone what something else reads: a bounded activation, an output, a sum with the input', () => {
    const curved = new Network();
    const clipped = curved.node('Sigmoid', [curved.conv(curved.x, 2, 4)]);
    expect(scalingGroups(curved.output(curved.conv(clipped, 4, 2)).model)).toEqual([]);

    const shown = new Network();
    const hidden = shown.node('Relu', [shown.conv(shown.x, 2, 4)]);
    expect(scalingGroups(shown.output(hidden).output(shown.conv(hidden, 4, 2)).model)).toEqual([]);

    const residual = new Network();
    const sum = residual.node('Add', [residual.conv(residual.x, 2, 2), residual.x]);
    expect(scalingGroups(residual.output(residual.conv(sum, 2, 2)).model)).toEqual([]);
  });

  test('asks for samples, and says so where nothing can be scaled', async () => {
    await expect(crossLayerScaling(everything(), {}, contextFor('measured'))).rejects.toThrow(/needs calibration samples/);
    const net = new Network();
    const model = net.output(net.conv(net.x, 2, 2)).model;
    const before = cloneModel(model);
    const { nodes, warnings } = await crossLayerScaling(model, {}, learningContext(source));
    expect(nodes).toEqual([]);
    expect(warnings?.[0]).toMatch(/no layers follow each other/);
    expect(await largestDifference(before, model)).toBe(0);
  });
});

describe('channel factors', () => {
  test('are the formula over living channels, and 1 for dead ones', () => {
    const factors = channelFactors([4, 1, 0, 2], [1, 2, 3, 0], 0.5);
    const raw = [Math.sqrt(1) / Math.sqrt(1 / 3), Math.sqrt(1 / 4) / Math.sqrt(2 / 3)];
    const median = Math.max(...raw);
    expect(factors[0]).toBeCloseTo((raw[0] ?? 0) / median, 12);
    expect(factors[1]).toBeCloseTo((raw[1] ?? 0) / median, 12);
    expect([factors[2], factors[3]]).toEqual([1, 1]);
  });

  test('stay within a tenth and ten', () => {
    const factors = channelFactors([1e6, 1, 1e-6], [1, 1, 1], 1);
    expect(Math.max(...factors)).toBe(10);
    expect(Math.min(...factors)).toBe(0.1);
  });
});
