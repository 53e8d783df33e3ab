/** Quantization-aware training: what is written is what was trained, and training makes it better. */
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, cloneModel, float32Tensor, float32Values, integerValues, type Model } from '../../../../services/engine/ir/index.js';
import { channelLayout } from '../../../../services/engine/layers/channel-layout.js';
import { decodeModelFile } from '../../../../services/engine/onnx/index.js';
import { qat } from '../../../../services/engine/qat/index.js';
import { type RoundedWeight, roundedCodes, trainRounded } from '../../../../services/engine/qat/rounded-weights.js';
import {
  ModelBuilder,
  noise,
  operators,
  outputsOf,
  removeScratch,
  runtime,
  scratch,
  sqnr,
  transB,
} from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from '../training/training-fixtures.js';

afterAll(removeScratch);

const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };

/** Four convolutions; with `protect_ends` the two in the middle take few bits. */
function network(): Model {
  const builder = new ModelBuilder();
  const conv = (from: Parameters<ModelBuilder['node']>[1][number], at: number, outputs: number, inputs: number) =>
    builder.node(
      'Conv',
      [
        from,
        builder.constant(`w${at}`, noise([outputs, inputs, 3, 3], at, 0.4)),
        builder.constant(`b${at}`, noise([outputs], at + 10, 0.1)),
      ],
      pads,
    );
  const relu = (value: ReturnType<typeof conv>) => builder.node('Relu', [value]);
  const x = builder.input('x', ['n', 3, 6, 6]);
  const stem = relu(conv(x, 1, 16, 3));
  const sum = relu(builder.node('Add', [conv(relu(conv(stem, 2, 16, 16)), 3, 16, 16), stem]));
  return builder.output(conv(sum, 4, 8, 16), ['n', 8, 6, 6]).model;
}

const images = noise([64, 3, 6, 6], 77);
const source = sourceOf({ input: 'x', dims: [3, 6, 6], values: float32Values(images) });

async function fidelity(model: Model): Promise<number> {
  const [reference = new Float32Array()] = await outputsOf(network(), { x: images });
  const [found = new Float32Array()] = await outputsOf(model, { x: images });
  return sqnr(reference, found);
}

describe('rounded weights', () => {
  const dims = [4, 2, 3, 3];
  const builder = new ModelBuilder();
  const conv = builder.node('Conv', [builder.input('x', [1, 2, 5, 5]), builder.constant('w', noise(dims, 3))]);
  const { model } = builder.output(conv);
  const node = model.graph.nodes[0];
  const scales = Float32Array.of(0.3, -0.25, 0.4, 0.2);
  const original = float32Values(noise(dims, 3));
  const codes = Int32Array.from(original, (value, at) =>
    Math.max(-4, Math.min(3, Math.round(value / (scales[Math.floor(at / 18)] ?? 1)) + (at % 5 === 0 ? 1 : 0))),
  );
  const weight: RoundedWeight = {
    name: 'w',
    dims,
    layout: channelLayout(node as NonNullable<typeof node>, dims),
    low: -4,
    high: 3,
    codes: codes.map((code) => Math.min(3, code)),
    scales,
  };

  test('begin at the codes that they were given, as near to the float weights as those allow', async () => {
    const copy = cloneModel(model);
    const { trained, logScales } = trainRounded(copy, [weight]);
    expect([...trained].sort()).toEqual(['w', logScales.get('w')].sort());
    const floats = [...copy.graph.initializers].find(([value]) => value.name === 'w')?.[1];
    const found = roundedCodes(weight, float32Values(floats ?? float32Tensor([0], [])), new Float32Array(4));
    expect([...found.codes]).toEqual([...(weight.codes as Int32Array)]);
    const x = noise([1, 2, 5, 5], 8);
    const exact = cloneModel(model);
    for (const [value] of exact.graph.initializers)
      exact.graph.initializers.set(
        value,
        float32Tensor(
          dims,
          Float32Array.from(found.codes, (code, at) => code * (scales[Math.floor(at / 18)] ?? 1)),
        ),
      );
    const [expected = new Float32Array()] = await outputsOf(exact, { x });
    const [rounded = new Float32Array()] = await outputsOf(copy, { x });
    for (const [at, value] of expected.entries()) expect(rounded[at]).toBeCloseTo(value, 4);
  });
});

describe('qat', () => {
  test('two bits trained after the source are nearer to it than the codes they began with', async () => {
    const options = { weight_bits: 2, activation_bits: 32, batch_size: 16, learning_rate: 0.003 } as const;
    const begun = network();
    await qat(begun, { ...options, epochs: 1, learning_rate: 1e-12 }, learningContext(source, { source: network() }));
    const trained = network();
    const { training, nodes } = await qat(trained, { ...options, epochs: 25 }, learningContext(source, { source: network() }));
    const [before, after] = [await fidelity(begun), await fidelity(trained)];
    expect(after).toBeGreaterThan(before + 1);
    expect(training?.losses).toEqual(['teacher-values']);
    expect(nodes.filter(({ reason }) => reason.startsWith('2 bit')).map(({ node }) => node)).toHaveLength(2);
    expect(operators(trained).includes('Round')).toBe(false);
  });

  test('activations of 8 bits are in the artifact as they were in training', async () => {
    const model = network();
    await qat(model, { weight_bits: 4, epochs: 1, batch_size: 16 }, learningContext(source, { source: network() }));
    expect(operators(model).filter((operator) => operator === 'QuantizeLinear')).toHaveLength(4);
    expect(await fidelity(model)).toBeGreaterThan(15);
  });

  test.each([2, 3, 8] as const)(
    'a chain of convolutions and a head in %d bits runs in integer kernels, and answers as in float',
    async (weight_bits) => {
      const chain = (): Model => {
        const builder = new ModelBuilder();
        const conv = (from: Parameters<ModelBuilder['node']>[1][number], at: number, outputs: number, inputs: number) =>
          builder.node(
            'Conv',
            [
              from,
              builder.constant(`w${at}`, noise([outputs, inputs, 3, 3], at, 0.3)),
              builder.constant(`b${at}`, noise([outputs], at + 10, 0.1)),
            ],
            pads,
          );
        const relu = (value: ReturnType<typeof conv>) => builder.node('Relu', [value]);
        const last = relu(conv(relu(conv(builder.input('x', ['n', 3, 6, 6]), 1, 16, 3)), 2, 16, 16));
        const flat = builder.node('Flatten', [relu(conv(last, 3, 16, 16))]);
        return builder.output(
          builder.node(
            'Gemm',
            [flat, builder.constant('w4', noise([10, 576], 4, 0.1)), builder.constant('b4', noise([10], 14, 0.1))],
            transB,
          ),
        ).model;
      };
      const model = chain();
      await qat(model, { weight_bits, epochs: 1, batch_size: 16 }, learningContext(source, { source: chain() }));
      const optimizedModelPath = join(scratch, `fused-${weight_bits}.onnx`);
      await (await runtime.open(model, { optimizedModelPath })).close();
      const fused = operators(decodeModelFile(optimizedModelPath));
      expect(fused.filter((operator) => operator === 'QLinearConv' || operator === 'QGemm')).toHaveLength(3);
      for (const [{ name }, tensor] of model.graph.initializers)
        if (name.endsWith('_int8') && name !== 'w3_int8') expect(Math.max(...integerValues(tensor).map(Math.abs))).toBeLessThanOrEqual(64);
      const session = await runtime.open(model, { optimization: 'disabled' });
      const [inFloat] = [...(await session.run(new Map([['x', images]]))).values()];
      await session.close();
      const [inIntegers = new Float32Array()] = await outputsOf(model, { x: images });
      expect(sqnr(float32Values(inFloat as NonNullable<typeof inFloat>), inIntegers)).toBeGreaterThan(45);
    },
  );

  test('matrices are trained, too: a Gemm and a MatMul, with 8 bits at both ends', async () => {
    const perceptron = (): Model => {
      const builder = new ModelBuilder();
      const layer = (from: Parameters<ModelBuilder['node']>[1][number], at: number, inputs: number, outputs: number) =>
        builder.node(
          'Gemm',
          [from, builder.constant(`w${at}`, noise([outputs, inputs], at, 0.3)), builder.constant(`b${at}`, noise([outputs], at + 20, 0.1))],
          transB,
        );
      const relu = (value: ReturnType<typeof layer>) => builder.node('Relu', [value]);
      const middle = relu(layer(relu(layer(builder.input('x', ['n', 24]), 1, 24, 32)), 2, 32, 32));
      const product = builder.node('MatMul', [middle, builder.constant('w3', noise([32, 32], 3, 0.3))]);
      const sum = relu(builder.node('Add', [product, builder.constant('b3', noise([32], 23, 0.1))]));
      return builder.output(layer(sum, 4, 32, 16), ['n', 16]).model;
    };
    const rows = noise([256, 24], 91);
    const samples = sourceOf({ input: 'x', dims: [24], values: float32Values(rows) });
    const [reference = new Float32Array()] = await outputsOf(perceptron(), { x: rows });
    const nearness = async (epochs: number): Promise<number> => {
      const model = perceptron();
      const options = { weight_bits: 2, epochs, batch_size: 16, learning_rate: 0.003 } as const;
      const { nodes, training } = await qat(model, options, learningContext(samples, { source: perceptron() }));
      expect(
        nodes
          .filter(({ reason }) => reason.startsWith('2 bit'))
          .map(({ op_type }) => op_type)
          .sort(),
      ).toEqual(['Gemm', 'MatMul']);
      expect(training === undefined).toBe(epochs === 0);
      expect(operators(model).filter((operator) => operator === 'QuantizeLinear')).toHaveLength(4);
      const [found = new Float32Array()] = await outputsOf(model, { x: rows });
      return sqnr(reference, found);
    };
    const start = await nearness(0);
    expect(start).toBeGreaterThan(3);
    expect(await nearness(20)).toBeGreaterThan(start + 1);
  });

  test('without samples it says what to give', async () => {
    const { calibration: _, ...context } = learningContext(source);
    await expect(qat(network(), {}, context)).rejects.toThrow('needs samples');
  });
});
