import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { inspectModel } from '../../../../services/engine/inspection/index.js';
import {
  attributeOf,
  cloneModel,
  float32Tensor,
  float32Values,
  type Model,
  type Tensor,
  type Value,
} from '../../../../services/engine/ir/index.js';
import { modelBytes } from '../../../../services/engine/ir/model-bytes.js';
import { lowRank } from '../../../../services/engine/low-rank/index.js';
import type { MethodContext } from '../../../../services/engine/method.js';
import { contextFor, ModelBuilder, noise, operators, outputsOf, removeScratch, sqnr, transB } from '../quantization/method-fixtures.js';
import { samplesOf } from '../quantization/weight-storage/sample-source.js';
import { convolutionModel, isFactorised, nodeOf, sizeContext, type TimedRuntime, timedRuntime } from './layer-models.js';
import { times } from './matrices.js';

afterAll(removeScratch);

/** [rows, columns] of this rank. */
function lowRankTensor(rows: number, columns: number, { rank, seed }: { rank: number; seed: number }): Tensor {
  const [left, right] = [float32Values(noise([rows, rank], seed)), float32Values(noise([rank, columns], seed + 1))];
  return float32Tensor([rows, columns], times(left, right, [rows, rank, columns]));
}

const forms = ['matmul', 'matmul+add', 'gemm', 'gemm transB', 'gemm scaled', 'gemm without C', 'matmul transposed constant'] as const;

/** x [n, depth] -> a product with a weight [depth, channels] in the wanted form -> y. */
function productModel(form: (typeof forms)[number], weight: Tensor, opset: number): Model {
  const builder = new ModelBuilder({ opset });
  const [depth = 0, channels = 0] = weight.dims;
  const x = builder.input('x', ['n', depth]);
  const isFlipped = form === 'gemm transB' || form === 'matmul transposed constant';
  const values = float32Values(weight);
  const flipped = Float32Array.from({ length: values.length }, (_, at) => values[(at % depth) * channels + Math.floor(at / depth)] ?? 0);
  const w = builder.constant('w', isFlipped ? float32Tensor([channels, depth], flipped) : weight);
  const b = builder.constant('b', noise([channels], 77));
  switch (form) {
    case 'matmul':
      return builder.output(builder.node('MatMul', [x, w])).model;
    case 'matmul+add':
      return builder.output(builder.node('Add', [builder.node('MatMul', [x, w]), b])).model;
    case 'matmul transposed constant':
      return builder.output(builder.node('MatMul', [x, builder.node('Transpose', [w], { perm: attributeOf.ints([1, 0]) })])).model;
    case 'gemm scaled':
      return builder.output(builder.node('Gemm', [x, w, b], { alpha: attributeOf.float(0.5), beta: attributeOf.float(-2) })).model;
    case 'gemm without C':
      return builder.output(builder.node('Gemm', [x, w], { beta: attributeOf.float(3) })).model;
    default:
      return builder.output(builder.node('Gemm', [x, w, b], form === 'gemm transB' ? transB : {})).model;
  }
}

describe('low-rank on products', () => {
  it('is the model itself when the weight has the rank that is kept, in every form, with and without samples', async () => {
    const cases = fc.record({
      form: fc.constantFrom(...forms),
      opset: fc.constantFrom(11, 13, 21),
      depth: fc.integer({ min: 20, max: 60 }),
      channels: fc.integer({ min: 20, max: 60 }),
      rank: fc.integer({ min: 1, max: 8 }),
      withSamples: fc.boolean(),
      aware: fc.boolean(),
      seed: fc.nat(10_000),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ form, opset, depth, channels, rank, withSamples, aware, seed }) => {
        const model = productModel(form, lowRankTensor(depth, channels, { rank, seed }), opset);
        const source = cloneModel(model);
        const calibration = samplesOf('x', noise([100, depth], seed + 3));
        const context = withSamples ? { ...sizeContext, calibration } : sizeContext;
        const options = { energy: 0.999_999, multiple_of: 1, activation_aware: aware };
        const { nodes, layers } = await lowRank(model, options, context);
        expect(nodes[0]).toMatchObject({ action: 'changed', by: 'low-rank' });
        expect(layers?.[0]?.form).toBe(`low rank ${rank} of ${Math.min(depth, channels)}`);
        const x = noise([7, depth], seed + 9);
        const [[before = new Float32Array()], [after = new Float32Array()]] = [
          await outputsOf(source, { x }),
          await outputsOf(model, { x }),
        ];
        expect(sqnr(before, after)).toBeGreaterThan(80);
        expect(model.graph.inputs.map(({ name }) => name)).toEqual(source.graph.inputs.map(({ name }) => name));
        expect(model.graph.outputs.map(({ name }) => name)).toEqual(source.graph.outputs.map(({ name }) => name));
      }),
      { numRuns: 40 },
    );
  });

  it('keeps the energy that is asked for: the noise of the outputs on the samples, as the report tells it', async () => {
    const samples = noise([400, 48], 4);
    const model = productModel('gemm', noise([48, 64], 3), 17);
    const source = cloneModel(model);
    const context = { ...sizeContext, calibration: samplesOf('x', samples) };
    const { layers } = await lowRank(model, { energy: 0.7, multiple_of: 4 }, context);
    const [[before = new Float32Array()], [after = new Float32Array()]] = [
      await outputsOf(source, { x: samples }),
      await outputsOf(model, { x: samples }),
    ];
    expect(layers?.[0]?.sqnr_local_db).toBeCloseTo(sqnr(before, after), 1);
    expect(sqnr(before, after)).toBeGreaterThan(-10 * Math.log10(0.3));
  });

  it('leaves no mean error: the bias makes up for what the factors miss', async () => {
    const shifted = float32Values(noise([300, 40], 4)).map((value) => value + 2);
    const samples = float32Tensor([300, 40], shifted);
    for (const form of ['gemm', 'gemm scaled', 'gemm without C', 'matmul+add'] as const) {
      const model = productModel(form, noise([40, 50], 3), 17);
      const source = cloneModel(model);
      await lowRank(model, { energy: 0.5, multiple_of: 4 }, { ...sizeContext, calibration: samplesOf('x', samples) });
      const [[before = new Float32Array()], [after = new Float32Array()]] = [
        await outputsOf(source, { x: samples }),
        await outputsOf(model, { x: samples }),
      ];
      expect(sqnr(before, after)).toBeLessThan(20);
      for (let channel = 0; channel < 50; channel += 1) {
        let error = 0;
        for (let row = 0; row < 300; row += 1) error += (before[row * 50 + channel] ?? 0) - (after[row * 50 + channel] ?? 0);
        expect(Math.abs(error / 300)).toBeLessThan(1e-4);
      }
    }
  });

  it('with samples loses less on inputs that are correlated than without', async () => {
    const mixing = lowRankTensor(200, 48, { rank: 6, seed: 5 });
    const disturbance = float32Values(noise([200, 48], 8));
    const inputs = float32Tensor(
      [200, 48],
      float32Values(mixing).map((value, at) => value + 0.05 * (disturbance[at] ?? 0)),
    );
    const errors: number[] = [];
    for (const context of [{ ...sizeContext, calibration: samplesOf('x', inputs) }, sizeContext]) {
      const model = productModel('gemm', noise([48, 48], 3), 17);
      const source = cloneModel(model);
      await lowRank(model, { budget: { parameters: 0.5 }, multiple_of: 4 }, context);
      const [[before = new Float32Array()], [after = new Float32Array()]] = [
        await outputsOf(source, { x: inputs }),
        await outputsOf(model, { x: inputs }),
      ];
      errors.push(sqnr(before, after));
    }
    expect(errors[0]).toBeGreaterThan((errors[1] ?? 0) + 10);
  });
});

/** Two products with a Relu between them, and a head that is too small for a rank. */
function twoLayers(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 64]);
  const h = builder.node('Relu', [
    builder.node('Gemm', [x, builder.constant('w1', lowRankTensor(64, 96, { rank: 8, seed: 1 })), builder.constant('b1', noise([96], 2))]),
  ]);
  const g = builder.node('Relu', [
    builder.node('Gemm', [h, builder.constant('w2', lowRankTensor(96, 64, { rank: 8, seed: 3 })), builder.constant('b2', noise([64], 4))]),
  ]);
  return builder.output(builder.node('MatMul', [g, builder.constant('w3', noise([64, 5], 5))])).model;
}

function reasonOf(nodes: readonly { node: string; reason: string }[], name: string): string {
  return nodes.find(({ node }) => node === name)?.reason ?? '';
}

describe('low-rank by measured time', () => {
  const timed = (runtime: TimedRuntime): MethodContext => ({
    ...contextFor('measured'),
    runtime,
    calibration: samplesOf('x', noise([50, 64], 6)),
  });
  /** Each product takes 20 us, or 5 us as a last factor; first factors take what is given. */
  const kernels =
    (first: Readonly<Record<string, number>>) =>
    (node: string, inFactors: boolean): number =>
      node.startsWith('Gemm') ? (first[node] ?? (inFactors ? 5 : 20)) : 1;

  it('names a layer whose factors are not faster with both times, and leaves it as it is', async () => {
    const runtime = timedRuntime({ kernel: kernels({ Gemm_0_low_rank: 30, Gemm_2_low_rank: 4 }), isSlow: (inFactors) => !inFactors });
    const model = twoLayers();
    const { nodes, layers } = await lowRank(model, { energy: 0.99, multiple_of: 8 }, timed(runtime));
    expect(runtime.profiles()).toBe(1);
    expect(operators(model)).toEqual(['Gemm', 'Relu', 'MatMul', 'Gemm', 'Relu', 'MatMul']);
    expect(reasonOf(nodes, 'Gemm_0')).toBe('factors would not be faster: low rank 8 of 64 measured; 21 us as it was, 36 us in factors');
    expect(layers).toMatchObject([{ node: 'Gemm_2', form: 'low rank 8 of 64', time_before_us: 21, time_after_us: 10 }]);
    expect(reasonOf(nodes, 'Gemm_2')).toMatch(/; the model measured .* ms before, .* ms with 1 layers in factors$/);
  });

  it('returns to the model as it was when that is faster as a whole, whatever single layers won', async () => {
    const runtime = timedRuntime({ kernel: kernels({ Gemm_0_low_rank: 1, Gemm_2_low_rank: 1 }), isSlow: (inFactors) => inFactors });
    const model = twoLayers();
    const source = cloneModel(model);
    const { nodes, layers } = await lowRank(model, { energy: 0.99, multiple_of: 8 }, timed(runtime));
    expect(layers).toEqual([]);
    expect(operators(model)).toEqual(operators(source));
    expect(reasonOf(nodes, 'Gemm_0')).toMatch(
      /the model would not be faster on this processor: .* ms before, .* ms with 2 layers in factors/,
    );
  });

  it('chooses the form of a convolution that measures fastest', async () => {
    const isSpatial = (model: Model): boolean =>
      model.graph.nodes.some(({ inputs: [, weight] }) => weightDims(model, weight)?.[2] === 1 && weightDims(model, weight)?.[3] === 3);
    const runtime = timedRuntime({ kernel: () => 1, isSlow: (inFactors) => !inFactors });
    const profile: TimedRuntime['profile'] = async (models) =>
      models.map((model) => {
        if (typeof model === 'string') return [];
        const microseconds = !isFactorised(model) ? 50 : isSpatial(model) ? 4 : 20;
        return [
          ...model.graph.nodes.map(({ name, opType }) => ({ node: name, opType, microseconds })),
          { node: 'nothing', opType: 'Identity', microseconds: 1 },
        ];
      });
    const model = convolutionModel({ inputs: 16, outputs: 16, kernel: [3, 3], spatial: [8, 8] });
    const { layers } = await lowRank(
      model,
      { energy: 0.3, multiple_of: 2 },
      { ...contextFor('measured'), runtime: { ...runtime, profile } },
    );
    expect(layers?.[0]?.form).toMatch(/^spatial low rank/);
    expect(isSpatial(model)).toBe(true);
  });

  it('times nothing for objective size and for processors that this one is not', async () => {
    const runtime = timedRuntime({ kernel: () => 1, isSlow: () => true });
    const elsewhere = process.arch === 'arm64' ? 'x64' : 'arm64';
    for (const context of [
      { ...timed(runtime), objective: 'size' },
      { ...timed(runtime), target: elsewhere },
    ] as MethodContext[]) {
      const { layers, nodes } = await lowRank(twoLayers(), { energy: 0.99, multiple_of: 8 }, context);
      expect(layers?.length).toBe(2);
      expect(reasonOf(nodes, 'Gemm_0')).toContain('not timed');
    }
    expect(runtime.profiles()).toBe(0);
  });

  it('gives the share of layers that are slower to the others under a budget, and says when it is missed', async () => {
    const runtime = timedRuntime({ kernel: kernels({ Gemm_0_low_rank: 90 }), isSlow: (inFactors) => !inFactors });
    const kept = await lowRank(twoLayers(), { budget: { parameters: 0.75 }, multiple_of: 8 }, timed(runtime));
    expect(kept.budgets).toMatchObject([{ figure: 'parameters', asked: 0.75, accepted: true }]);
    expect(kept.layers?.map(({ node }) => node)).toEqual(['Gemm_2']);
    const missed = await lowRank(twoLayers(), { budget: { parameters: 0.45 }, multiple_of: 8 }, timed(runtime));
    expect(missed.budgets).toMatchObject([{ figure: 'parameters', asked: 0.45, accepted: false }]);
  });
});

function weightDims(model: Model, weight: Value | null | undefined): readonly number[] | undefined {
  return weight ? model.graph.initializers.get(weight)?.dims : undefined;
}

describe('low-rank under a budget', () => {
  it('keeps fractions of multiply-accumulates, parameters and bytes, counted on the model that comes out', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('macs' as const, 'parameters' as const, 'bytes' as const),
        fc.double({ min: 0.45, max: 1, noNaN: true }),
        async (figure, asked) => {
          const model = twoLayers();
          const source = cloneModel(model);
          const { budgets } = await lowRank(
            model,
            { budget: { [figure]: asked }, multiple_of: 4 },
            { ...sizeContext, calibration: samplesOf('x', noise([50, 64], 6)) },
          );
          const macs = (each: Model): number =>
            [...each.graph.initializers]
              .filter(([{ name }]) => /^w|factor/.test(name))
              .reduce((sum, [, { data }]) => sum + data.byteLength / 4, 0);
          const measure = { macs, parameters: (each: Model) => inspectModel(each).parameters, bytes: modelBytes }[figure];
          const reached = measure(model) / measure(source);
          expect(reached).toBeLessThanOrEqual(asked + 1e-9);
          expect(budgets).toEqual([{ figure, asked, reached: expect.closeTo(reached, 9), accepted: true }]);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('says what can be kept when the budget cannot', async () => {
    await expect(lowRank(twoLayers(), { budget: { macs: 0.01 } }, sizeContext)).rejects.toThrow(
      /budget of 0.01 of the macs cannot be kept: the lowest ranks leave 0\.\d+/,
    );
    await expect(lowRank(twoLayers(), { budget: { macs: 0.5, bytes: 0.5 } }, sizeContext)).rejects.toMatchObject({
      code: 'recipe_invalid',
    });
    await expect(lowRank(twoLayers(), { budget: { macs: 0.5 }, rank: 'evbmf' }, sizeContext)).rejects.toMatchObject({
      code: 'recipe_invalid',
    });
    await expect(lowRank(twoLayers(), { rank: 'budget' }, sizeContext)).rejects.toMatchObject({ code: 'recipe_invalid' });
  });
});

describe('low-rank', () => {
  it('finds the ranks that are signal with evbmf', async () => {
    const clean = float32Values(lowRankTensor(60, 80, { rank: 5, seed: 1 }));
    const disturbance = float32Values(noise([60, 80], 9));
    const disturbed = float32Tensor(
      [60, 80],
      clean.map((value, at) => value + 0.2 * (disturbance[at] ?? 0)),
    );
    const model = productModel('gemm', disturbed, 17);
    const { layers } = await lowRank(model, { rank: 'evbmf', multiple_of: 1 }, sizeContext);
    expect(layers?.[0]?.form).toBe('low rank 5 of 60');
  });

  it('returns layers to full rank until the outputs keep min_sqnr_db, or what the judge allows', async () => {
    const calibration = samplesOf('x', noise([60, 64], 6));
    const disturbed = (): Model => {
      const model = twoLayers();
      for (const [value, tensor] of model.graph.initializers)
        if (value.name === 'w2')
          model.graph.initializers.set(
            value,
            float32Tensor(
              tensor.dims,
              float32Values(noise(tensor.dims, 4)).map((each) => 3 * each),
            ),
          );
      return model;
    };
    const options = { energy: 0.6, multiple_of: 8 };
    const source = disturbed();
    const free = await lowRank(disturbed(), options, { ...sizeContext, calibration });
    expect(free.layers?.map(({ node }) => node)).toEqual(['Gemm_0', 'Gemm_2']);
    const bounded = disturbed();
    const { layers, nodes, warnings } = await lowRank(bounded, { ...options, min_sqnr_db: 40 }, { ...sizeContext, calibration });
    expect(layers?.map(({ node }) => node)).not.toContain('Gemm_2');
    expect(reasonOf(nodes, 'Gemm_2')).toBe('returned to full rank to keep min_sqnr_db 40');
    expect(warnings).toEqual([]);
    const x = noise([60, 64], 6);
    const [[before = new Float32Array()], [after = new Float32Array()]] = [await outputsOf(source, { x }), await outputsOf(bounded, { x })];
    expect(sqnr(before, after)).toBeGreaterThan(40);
    const judged = disturbed();
    const judge = { metric: 'top1', maxDrop: 0, drop: async (candidate: Model) => (operators(candidate).length > 6 ? 0.5 : 0) };
    const outcome = await lowRank(judged, options, { ...sizeContext, calibration, judge });
    expect(outcome.layers?.length).toBe(1);
  });

  it('refits the last factor of convolutions to the samples: less noise than without them', async () => {
    const spec = { inputs: 12, outputs: 16, kernel: [3, 3], spatial: [8, 8], pads: [1, 1, 1, 1] };
    const images = noise([20, 12, 8, 8], 5);
    const smooth = float32Tensor(
      images.dims,
      float32Values(images).map((_, at, all) => (all[at] ?? 0) + 2 * (all[Math.floor(at / 64) * 64] ?? 0)),
    );
    for (const forms of [['svd'], ['spatial-svd'], ['tucker'], ['cp']] as const) {
      const noises: number[] = [];
      for (const calibration of [samplesOf('x', smooth), undefined]) {
        const model = convolutionModel(spec);
        const source = cloneModel(model);
        const { layers } = await lowRank(
          model,
          { forms, budget: { parameters: 0.6 }, multiple_of: 4 },
          { ...sizeContext, ...(calibration ? { calibration } : {}) },
        );
        expect(layers?.length).toBe(1);
        const [[before = new Float32Array()], [after = new Float32Array()]] = [
          await outputsOf(source, { x: smooth }),
          await outputsOf(model, { x: smooth }),
        ];
        noises.push(sqnr(before, after));
      }
      expect(noises[0]).toBeGreaterThan((noises[1] ?? 0) + 1);
    }
  });

  it('leaves what it cannot factorise, with the reason, and never fails on unknown operators', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 32]);
    const shared = builder.constant('shared', noise([32, 32], 1));
    const a = builder.node('MatMul', [builder.node('MatMul', [x, shared]), shared]);
    const excluded = builder.node('MatMul', [a, builder.constant('w', noise([32, 32], 2))]);
    const transposed = builder.node(
      'Gemm',
      [builder.node('Transpose', [excluded], { perm: attributeOf.ints([1, 0]) }), builder.constant('v', noise([32, 32], 3))],
      { transA: attributeOf.int(1) },
    );
    const { model } = builder.output(transposed);
    const { nodes, layers } = await lowRank(model, { energy: 0.1, multiple_of: 1, exclude: [excluded.producer?.name ?? ''] }, sizeContext);
    expect(layers).toEqual([]);
    expect(reasonOf(nodes, 'MatMul_0')).toContain('read by other nodes');
    expect(reasonOf(nodes, excluded.producer?.name ?? '')).toBe('excluded by the recipe');
    expect(reasonOf(nodes, transposed.producer?.name ?? '')).toContain('transA');
    expect(nodeOf(model, 'MatMul_0').inputs[1]?.name).toBe('shared');
    const grouped = convolutionModel({ inputs: 1, outputs: 8, kernel: [3, 3], spatial: [8, 8] });
    nodeOf(grouped, 'Conv_0').attributes.set('group', attributeOf.int(4));
    expect((await lowRank(grouped, {}, sizeContext)).nodes[0]?.reason).toContain('4 groups');
  });
});
