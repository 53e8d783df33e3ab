/** The method: what it writes is what it simulated, is nearer to the float model than a plain rounding, and says what it did. */
import { afterAll, describe, expect, test } from 'vitest';
import { distributionAware } from '../../../../services/engine/distribution-aware/index.js';
import type { DistributionAwareOptions } from '../../../../services/engine/distribution-aware/options.js';
import { float32Tensor, integerValues, type Model, verifyModel } from '../../../../services/engine/ir/index.js';
import { contextFor, operators, outputsOf, removeScratch, runtime, sqnr } from '../quantization/method-fixtures.js';
import { learningContext } from '../training/training-fixtures.js';
import { FEATURES, forecaster, layerModel, STEPS, windows } from './forecaster-fixtures.js';

afterAll(removeScratch);

const { source } = windows(256);
const unseen = windows(64, 1000);
const x = float32Tensor([64, STEPS, FEATURES], unseen.values);

async function quantized(options: DistributionAwareOptions) {
  const model = forecaster();
  const outcome = await distributionAware(model, { integer_kernels: 'never', ...options }, learningContext(source));
  verifyModel(model);
  return { model, outcome };
}

async function fidelity(model: Model): Promise<number> {
  const [reference = new Float32Array()] = await outputsOf(forecaster(), { x });
  const [found = new Float32Array()] = await outputsOf(model, { x });
  return sqnr(reference, found);
}

describe('distribution-aware', () => {
  test('in 4 bits is nearer to the float outputs than extremes per tensor, by far', async () => {
    const plain = { bits: 4, per_channel: false, ranges: 'extremes', correct_biases: false, refit_head: false } as const;
    const before = await fidelity((await quantized(plain)).model);
    const after = await fidelity((await quantized({ bits: 4 })).model);
    expect(after).toBeGreaterThan(before + 3);
  });

  test('gains with every bit, and in 8 bits is almost the float model', async () => {
    const found = await Promise.all(([3, 5, 8] as const).map(async (bits) => fidelity((await quantized({ bits })).model)));
    expect(found).toEqual(found.toSorted((a, b) => a - b));
    expect(found[2]).toBeGreaterThan(30);
  });

  test('answers the same with and without optimization by the runtime', async () => {
    const { model } = await quantized({ bits: 4 });
    const [optimized = new Float32Array()] = await outputsOf(model, { x });
    const plain = await runtime.open(model, { optimization: 'disabled' });
    const [reference] = (await plain.run(new Map([['x', x]]))).values();
    await plain.close();
    const expected = new Float32Array(reference?.data.read().slice().buffer ?? new ArrayBuffer(0));
    // A rounding that stands on the edge may fall to either side.
    expect(sqnr(expected, optimized)).toBeGreaterThan(40);
  });

  test('keeps inputs, outputs and their types; the states that the loop carries are bytes that stay below 2^bits', async () => {
    const { model } = await quantized({ bits: 3 });
    expect(model.graph.inputs.map(({ name, type }) => ({ name, type }))).toEqual(
      forecaster().graph.inputs.map(({ name, type }) => ({ name, type })),
    );
    expect(model.graph.outputs.map(({ name }) => name)).toEqual(forecaster().graph.outputs.map(({ name }) => name));
    const scan = model.graph.nodes.find(({ opType }) => opType === 'Scan');
    const kept = scan?.outputs[2];
    if (!kept) throw new Error('the loop has no sequence of states');
    kept.type = { kind: 'tensor', dataType: 'uint8', shape: null };
    model.graph.outputs.push(kept);
    const session = await runtime.open(model);
    const codes = (await session.run(new Map([['x', x]]), [kept.name])).get(kept.name);
    await session.close();
    expect(codes?.dataType).toBe('uint8');
    const values = codes ? integerValues(codes) : [];
    expect(Math.max(...values)).toBe(7);
    expect(new Set(values).size).toBe(8);
  });

  test('gives each kind of tensor the width that it is told, and reports it', async () => {
    const { outcome } = await quantized({ bits: 4, tensor_bits: { cell: 8, weights: 5, probabilities: 6 } });
    const forms = new Map(outcome.layers?.map(({ op_type, form }) => [op_type, form]));
    expect(Object.fromEntries(forms)).toMatchObject({
      cell: '8 bit',
      weight: '5 bit',
      probabilities: '6 bit',
      gates: '4 bit',
      hidden: '4 bit',
    });
    expect(outcome.nodes.find(({ op_type }) => op_type === 'LSTM')?.reason).toContain('cell 8');
    expect(outcome.calibration).toMatchObject({ method: 'distribution-aware', samples: 256, samples_given: 256 });
  });

  test('by sensitivity: at the same mean nearer to the float model than the same bits for all', async () => {
    const uniform = await fidelity((await quantized({ bits: 4 })).model);
    const { model, outcome } = await quantized({ bits: 4, allocation: 'sensitivity' });
    expect(await fidelity(model)).toBeGreaterThan(uniform);
    const widths = new Set(outcome.layers?.map(({ form }) => form));
    expect(widths.size).toBeGreaterThan(1);
  });

  test.each(['kl', 'wasserstein', 'moments'] as const)('ranges by %s', async (distance) => {
    expect(await fidelity((await quantized({ bits: 5, distance })).model)).toBeGreaterThan(10);
  });

  test('in 8 bits takes the integer kernels of the runtime when it is told to', async () => {
    const { model, outcome } = await quantized({ bits: 8, integer_kernels: 'always' });
    expect(operators(model)).not.toContain('Scan');
    expect(outcome.warnings?.[0]).toContain('integer kernels');
    expect(await fidelity(model)).toBeGreaterThan(25);
  });

  test('trained after the float model is nearer to it, and is written as it was trained', async () => {
    const plain = await fidelity((await quantized({ bits: 3 })).model);
    const { model } = await quantized({ bits: 3, training: { epochs: 12, batch_size: 32, learning_rate: 0.006 } });
    expect(await fidelity(model)).toBeGreaterThan(plain + 0.5);
  });

  test('takes a GRU apart, too', async () => {
    const model = layerModel({ kind: 'GRU', direction: 'bidirectional', resetAfter: true });
    const reference = layerModel({ kind: 'GRU', direction: 'bidirectional', resetAfter: true });
    const one = float32Tensor([STEPS, 1, FEATURES], unseen.values.slice(0, STEPS * FEATURES));
    const runs = {
      ...source,
      fixedBatch: 1,
      async *runs() {
        for (let at = 0; at < 8; at += 1) {
          const part = unseen.values.slice(at * STEPS * FEATURES, (at + 1) * STEPS * FEATURES);
          yield { feeds: new Map([['x', float32Tensor([STEPS, 1, FEATURES], part)]]), rows: 1, sampleCount: 1 };
        }
      },
      sampleCount: 8,
    };
    await distributionAware(model, { bits: 6 }, learningContext(runs));
    const [expected = new Float32Array()] = await outputsOf(reference, { x: one });
    const [found = new Float32Array()] = await outputsOf(model, { x: one });
    expect(sqnr(expected, found)).toBeGreaterThan(20);
  });

  test('refuses to guess without samples', async () => {
    await expect(distributionAware(forecaster(), {}, contextFor('measured'))).rejects.toMatchObject({ code: 'recipe_invalid' });
  });
});
