import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { float32Tensor, type Model } from '../../../../services/engine/ir/index.js';
import { verifyModel } from '../../../../services/engine/ir/verify-graph.js';
import type { LayerReport } from '../../../../services/engine/method.js';
import { dynamicInt8 } from '../../../../services/engine/quantization/index.js';
import { type SparsityOptions, sparsity } from '../../../../services/engine/sparsity/index.js';
import { contextFor, ModelBuilder, noise, outputsOf, removeScratch, sqnr } from '../quantization/method-fixtures.js';
import { contextWith, convolutionalModel, images, innerOutput, weightsOf, written, zeroCount } from './sparse-models.js';

afterAll(removeScratch);

const criteria = ['magnitude', 'wanda', 'sparsegpt'] as const;
const everything = { protect_ends: false } as const;

describe('sparsity', () => {
  it('makes exactly the fraction of each weight zero, in the file that is written, whatever the criterion', async () => {
    const cases = fc.record({
      criterion: fc.constantFrom(...criteria),
      sparsity: fc.double({ min: 0.05, max: 0.95, noNaN: true }),
      steps: fc.integer({ min: 1, max: 3 }),
      bias_correction: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ criterion, sparsity: fraction, steps, bias_correction }) => {
        const model = convolutionalModel();
        const before = weightsOf(model);
        await sparsity(
          model,
          { ...everything, criterion, sparsity: fraction, schedule: { steps }, bias_correction },
          contextWith(images(24)),
        );
        verifyModel(model);
        const after = weightsOf(written(model));
        for (const [name, values] of before) {
          if (name === 'bias') expect(after.get(name)).toEqual(bias_correction ? undefined : values);
          else expect([name, zeroCount(after.get(name))]).toEqual([name, Math.round(fraction * values.length)]);
          // What stays under magnitude and Wanda stays as it was.
          if (criterion !== 'sparsegpt')
            for (const [at, value] of (after.get(name) ?? []).entries()) if (value !== 0) expect(value).toBe(values[at]);
        }
        const [output] = await outputsOf(model, { x: images(3) });
        expect(output?.every(Number.isFinite)).toBe(true);
      }),
      { numRuns: 12 },
    );
  });

  it.each(criteria)('keeps two of each four consecutive input channels, at each position of the kernel, by %s', async (criterion) => {
    const model = convolutionalModel();
    const { nodes } = await sparsity(model, { ...everything, pattern: '2:4', criterion }, contextWith(images(24)));
    const weights = weightsOf(written(model));
    const nonzero = (name: string, at: readonly number[]): number => at.filter((each) => weights.get(name)?.[each] !== 0).length;
    for (let output = 0; output < 8; output += 1)
      for (let tap = 0; tap < 9; tap += 1)
        expect(
          nonzero(
            'grouped',
            [0, 1, 2, 3].map((input) => (output * 4 + input) * 9 + tap),
          ),
        ).toBe(2);
    for (let output = 0; output < 6; output += 1)
      for (let tap = 0; tap < 4; tap += 1)
        for (const first of [0, 4])
          expect(
            nonzero(
              'up',
              [0, 1, 2, 3].map((input) => ((first + input) * 6 + output) * 4 + tap),
            ),
          ).toBe(2);
    for (let output = 0; output < 10; output += 1) {
      expect(
        nonzero(
          'hidden',
          [0, 1, 2, 3].map((input) => input * 10 + output),
        ),
      ).toBe(2);
      expect(
        nonzero(
          'hidden',
          [4, 5].map((input) => input * 10 + output),
        ),
      ).toBe(2);
    }
    for (let output = 0; output < 4; output += 1)
      expect(
        nonzero(
          'head',
          [8, 9].map((input) => output * 10 + input),
        ),
      ).toBe(2);
    // Three inputs are a group that is cut off: two stay.
    for (let output = 0; output < 8; output += 1)
      expect(
        nonzero(
          'stem',
          [0, 1, 2].map((input) => (output * 3 + input) * 9),
        ),
      ).toBe(2);
    expect(zeroCount(weights.get('depthwise'))).toBe(0);
    expect(nodes.find(({ node }) => node === 'Conv_4')).toMatchObject({
      action: 'left',
      reason: expect.stringContaining('no group of 2:4'),
    });
  });

  it.each([
    { pattern: 'unstructured', fraction: 0.6 },
    { pattern: '2:4', fraction: undefined },
    { pattern: [4, 1], fraction: 0.5 },
  ] as const)(
    'moves every layer less by SparseGPT than by Wanda or magnitude, alone and together: $pattern',
    async ({ pattern, fraction }) => {
      const noises = new Map<string, readonly LayerReport[]>();
      for (const criterion of criteria) {
        const options = { pattern, criterion, bias_correction: false, ...(fraction === undefined ? {} : { sparsity: fraction }) };
        const { layers = [] } = await sparsity(convolutionalModel(), options, contextWith(images(200)));
        noises.set(criterion, layers);
      }
      const best = noises.get('sparsegpt') ?? [];
      expect(best.length).toBeGreaterThanOrEqual(3);
      for (const criterion of ['magnitude', 'wanda']) {
        for (const [at, { node, sqnr_local_db }] of (noises.get(criterion) ?? []).entries()) {
          // A depthwise convolution has nine weights per channel and few to make up for the others.
          if (node !== 'Conv_4') expect(best[at]?.sqnr_local_db).toBeGreaterThan((sqnr_local_db ?? Number.NaN) + 0.5);
        }
        expect(best.at(-1)?.sqnr_db).toBeGreaterThan((noises.get(criterion)?.at(-1)?.sqnr_db ?? Number.NaN) + 2);
      }
    },
  );

  it('leaves the first and the last layer dense unless told otherwise, and says so', async () => {
    const model = convolutionalModel();
    const before = weightsOf(model);
    const { nodes, warnings } = await sparsity(model, { sparsity: 0.5 }, contextWith());
    const after = weightsOf(model);
    for (const name of ['stem', 'head']) expect([...(after.get(name) ?? [])]).toEqual([...(before.get(name) ?? [])]);
    for (const name of ['grouped', 'up', 'hidden'])
      expect(zeroCount(after.get(name))).toBe(Math.round((before.get(name)?.length ?? 0) / 2));
    for (const node of ['Conv_0', 'Gemm_12'])
      expect(nodes.find((each) => each.node === node)).toMatchObject({ action: 'left', reason: expect.stringContaining('protect_ends') });
    expect(warnings?.join()).toContain('no sparse kernels');
  });

  it('takes layers out by name and operator, and gives some a share or a pattern of their own; later rules win', async () => {
    const model = convolutionalModel();
    const layers = [
      { nodes: ['Conv*'], sparsity: 0.9 },
      { nodes: ['Conv_2'], sparsity: 0.25 },
      { nodes: ['ConvTranspose_*'], pattern: '1:4' },
      { nodes: ['MatMul_*'], sparsity: 0 },
    ];
    const { nodes } = await sparsity(
      model,
      { ...everything, sparsity: 0.5, exclude: ['Conv_0'], op_types: ['Conv', 'ConvTranspose', 'MatMul'], layers },
      contextWith(),
    );
    const after = weightsOf(model);
    expect(zeroCount(after.get('stem'))).toBe(0);
    expect(zeroCount(after.get('grouped'))).toBe(Math.round(0.25 * 288));
    expect(zeroCount(after.get('depthwise'))).toBe(Math.round(0.9 * 72));
    expect(zeroCount(after.get('up'))).toBe(0.75 * 192);
    expect(zeroCount(after.get('hidden'))).toBe(0);
    expect(zeroCount(after.get('head'))).toBe(0);
    const reasons = new Map(nodes.map(({ node, reason }) => [node, reason]));
    expect(reasons.get('Conv_0')).toContain('excluded');
    expect(reasons.get('Gemm_12')).toContain('op_types');
    expect(reasons.get('MatMul_10')).toContain('keeps it dense');
  });

  it('divides the zeros among the layers by all their magnitudes, and keeps the whole to the fraction', async () => {
    for (const allocation of ['global', 'lamp', 'erk'] as const) {
      const model = convolutionalModel();
      const before = weightsOf(model);
      await sparsity(model, { ...everything, sparsity: 0.8, allocation }, contextWith());
      const names = [...before.keys()].filter((name) => name !== 'bias');
      const zeros = names.map((name) => zeroCount(weightsOf(model).get(name)));
      const sizes = names.map((name) => before.get(name)?.length ?? 0);
      const total = sizes.reduce((a, b) => a + b, 0);
      expect(Math.abs(zeros.reduce((a, b) => a + b, 0) - 0.8 * total)).toBeLessThanOrEqual(names.length / 2);
      expect(new Set(zeros.map((count, at) => Math.round((100 * count) / (sizes[at] ?? 1)))).size).toBeGreaterThan(2);
    }
  });

  it('tells of each layer what is left of it, and how far it moved alone and together', async () => {
    const model = convolutionalModel();
    const source = written(model);
    const samples = images(8);
    const { layers = [], nodes } = await sparsity(model, { sparsity: 0.75, criterion: 'wanda' }, contextWith(samples));
    const grouped = layers.find(({ node }) => node === 'Conv_2');
    expect(grouped).toMatchObject({
      form: 'sparse, unstructured',
      bytes_before: 1152,
      bytes_after: 1152,
      nonzeros_before: 288,
      nonzeros_after: 72,
    });
    expect(nodes.find(({ node }) => node === 'Conv_2')?.reason).toContain('75.0 % zero, unstructured, by wanda');
    // Alone: the source with only this weight replaced.
    const alone = written(source);
    const value = [...alone.graph.initializers.keys()].find(({ name }) => name === 'grouped');
    if (!value) throw new Error('no weight');
    alone.graph.initializers.set(value, float32Tensor([8, 4, 3, 3], weightsOf(model).get('grouped') ?? []));
    const outputs = await Promise.all([source, alone, written(model)].map((each) => innerOutput(each, 'Conv_2_out', samples)));
    expect(grouped?.sqnr_local_db).toBeCloseTo(sqnr(outputs[0] ?? new Float32Array(), outputs[1] ?? new Float32Array()), 2);
    const deeper = await Promise.all([source, written(model)].map((each) => innerOutput(each, 'ConvTranspose_6_out', samples)));
    expect(layers.find(({ node }) => node === 'ConvTranspose_6')?.sqnr_db).toBeCloseTo(
      sqnr(deeper[0] ?? new Float32Array(), deeper[1] ?? new Float32Array()),
      2,
    );
  });

  it('moves the mean of each channel back to where it was, which makes the outputs better by every criterion', async () => {
    for (const criterion of criteria) {
      const samples = images(100);
      const [source, noises] = [convolutionalModel(), [] as number[]];
      const [before] = await outputsOf(source, { x: samples });
      for (const bias_correction of [false, true]) {
        const model = convolutionalModel();
        const { nodes } = await sparsity(model, { sparsity: 0.6, criterion, bias_correction }, contextWith(samples));
        expect(nodes.find(({ node }) => node === 'Conv_2')?.reason.endsWith('bias corrected')).toBe(bias_correction);
        const [after] = await outputsOf(model, { x: samples });
        noises.push(sqnr(before ?? new Float32Array(), after ?? new Float32Array()));
        if (!bias_correction) continue;
        for (const name of ['Conv_2_out', 'Conv_4_out', 'ConvTranspose_6_out']) {
          const [dense, sparse] = await Promise.all([source, model].map((each) => innerOutput(each, name, samples)));
          const channels = name === 'ConvTranspose_6_out' ? 6 : 8;
          for (let channel = 0; channel < channels; channel += 1) {
            const mean = (values: Float32Array = new Float32Array()): number => channelMean(values, { channel, channels, samples: 100 });
            expect(Math.abs(mean(dense) - mean(sparse))).toBeLessThan(1e-3);
          }
        }
      }
      expect(noises[1]).toBeGreaterThan(noises[0] ?? Number.NaN);
    }
  });

  it('leaves zeros that quantization keeps: each is code 0', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 32]);
    const { model } = builder.output(builder.node('MatMul', [x, builder.constant('w', noise([32, 48], 3))]), ['n', 48]);
    await sparsity(model, { ...everything, pattern: '2:4' }, contextWith(noise([64, 32], 9)));
    const zeros = weightsOf(model).get('w') ?? new Float32Array();
    await dynamicInt8(model, {}, contextFor('integer'));
    const codes = [...model.graph.initializers.values()].find(({ dataType, dims }) => dataType === 'int8' && dims.length === 2);
    const bytes = new Int8Array(codes?.data.read() ?? []);
    expect(zeroCount(zeros)).toBe(768);
    expect([...zeros.keys()].every((at) => zeros[at] !== 0 || bytes[at] === 0)).toBe(true);
  });
});

describe('a bound on the loss', () => {
  const outputNoise = async (
    options: SparsityOptions,
  ): Promise<{ readonly db: number; readonly zeros: number; readonly reasons: string }> => {
    const model = convolutionalModel();
    const samples = images(64);
    const [before] = await outputsOf(model, { x: samples });
    const { nodes } = await sparsity(model, { ...everything, sparsity: 0.6, criterion: 'magnitude', ...options }, contextWith(samples));
    const [after] = await outputsOf(model, { x: samples });
    const zeros = [...weightsOf(model).values()].reduce((sum, values) => sum + zeroCount(values), 0);
    return {
      db: sqnr(before ?? new Float32Array(), after ?? new Float32Array()),
      zeros,
      reasons: nodes.map(({ reason }) => reason).join(),
    };
  };

  it.each([false, true])(
    'returns layers to dense until the outputs keep min_sqnr_db, and no more than it needs; biases: %s',
    async (bias_correction) => {
      const free = await outputNoise({ bias_correction });
      const least = free.db + 3;
      const bounded = await outputNoise({ bias_correction, min_sqnr_db: least });
      expect(bounded.db).toBeGreaterThanOrEqual(least - 0.01);
      expect(bounded.zeros).toBeGreaterThan(0);
      expect(bounded.zeros).toBeLessThan(free.zeros);
      expect(bounded.reasons).toContain('returned to dense to keep min_sqnr_db');
    },
  );

  it('keeps the metric of the gate by the same means, with or without samples', async () => {
    for (const samples of [images(16), undefined]) {
      const model = convolutionalModel();
      const zeros = (candidate: Model): number => [...weightsOf(candidate).values()].reduce((sum, values) => sum + zeroCount(values), 0);
      // A judge that allows so many zeros: what returns shows, without a trained model.
      const judge = { metric: 'top1', maxDrop: 0.5, drop: async (candidate: Model) => zeros(candidate) / 500 };
      await sparsity(model, { ...everything, criterion: 'magnitude' }, { ...contextWith(samples), judge });
      expect(zeros(model)).toBeLessThanOrEqual(250);
      expect(zeros(model)).toBeGreaterThan(0);
    }
  });
});

describe('recipes that contradict themselves or lack samples', () => {
  it.each<readonly [SparsityOptions, string]>([
    [{ criterion: 'wanda' }, 'needs samples'],
    [{ criterion: 'sparsegpt' }, 'needs samples'],
    [{ min_sqnr_db: 20 }, 'measured on samples'],
    [{ pattern: '2:4', sparsity: 0.5 }, 'leave "sparsity" out'],
    [{ pattern: '2:4', allocation: 'global' }, 'leave "allocation" out'],
    [{ pattern: '4:4' }, 'is no pattern of zeros'],
    [{ layers: [{ nodes: ['*'], pattern: '3:2' }] }, 'is no pattern of zeros'],
  ])('%j is refused with what to do instead', async (options, message) => {
    await expect(sparsity(convolutionalModel(), options, contextWith())).rejects.toMatchObject({
      code: 'recipe_invalid',
      message: expect.stringContaining(message),
    });
  });
});

/** Of [samples, channels, positions]. */
function channelMean(values: Float32Array, { channel, channels, samples }: { channel: number; channels: number; samples: number }): number {
  const positions = values.length / channels / samples;
  let sum = 0;
  for (let sample = 0; sample < samples; sample += 1) {
    const start = (sample * channels + channel) * positions;
    for (let at = start; at < start + positions; at += 1) sum += values[at] ?? 0;
  }
  return sum / samples / positions;
}
