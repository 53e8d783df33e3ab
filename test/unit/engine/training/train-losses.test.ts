/** Losses in recipes: what a model learns by them. */
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, float32Values, int64Tensor, type Model } from '../../../../services/engine/ir/index.js';
import { pseudoRandom } from '../../../../services/engine/runtime/pseudo-random.js';
import { distill, train } from '../../../../services/engine/training/index.js';
import type { TrainingOptions } from '../../../../services/engine/training/options.js';
import { ModelBuilder, noise, outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

describe('quantile', () => {
  const [count, quantiles] = [1000, [0.1, 0.5, 0.9]] as const;
  const random = pseudoRandom(3);
  const values = Float32Array.from({ length: count }, () => random.uniform());
  const targets = Float32Array.from(values, (x) => 2 * x + 0.5 * random.normal());
  const source = sourceOf({ input: 'x', dims: [1], values, targets: { dims: [1], values: targets } });

  /** x -> [n, 1, forecasts]. */
  function forecaster(width: number): Model {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', 1]);
    const line = builder.node('Gemm', [x, builder.constant('w', noise([1, width], 1)), builder.constant('b', noise([width], 2))]);
    const shape = builder.constant('shape', int64Tensor([3], [0, 1, width]));
    return builder.output(builder.node('Reshape', [line, shape]), ['n', 1, width]).model;
  }

  test('as many labels lie below each forecast as it says', async () => {
    const model = forecaster(3);
    const options: TrainingOptions = { epochs: 30, batch_size: 50, learning_rate: 0.05, losses: [{ kind: 'quantile', quantiles }] };
    await train(model, options, learningContext(source));
    const [forecasts = new Float32Array()] = await outputsOf(model, { x: float32Tensor([count, 1], values) });
    for (const [at, quantile] of quantiles.entries()) {
      const below = targets.filter((label, row) => label < (forecasts[3 * row + at] ?? 0)).length / count;
      expect(Math.abs(below - quantile)).toBeLessThan(0.03);
    }
  });

  test('an output without such an axis is refused; one quantile needs none', async () => {
    const refused = train(forecaster(2), { losses: [{ kind: 'quantile', quantiles }] }, learningContext(source));
    await expect(refused).rejects.toThrow("'quantile' names 3 quantiles, and the last axis of output 0 has 2: [64,1,2]");
    const { training } = await train(
      forecaster(1),
      { epochs: 1, losses: [{ kind: 'quantile', quantiles: [0.9] }] },
      learningContext(source),
    );
    expect(training?.losses).toEqual(['quantile']);
  });
});

describe('attention', () => {
  const [tokens, width] = [5, 6];
  const samples = { input: 'x', dims: [tokens, width], values: float32Values(noise([128, tokens, width], 4, 2)) };

  /** softmax(Q K^T) V in two heads of 3 or three of 2, then three numbers. */
  function attention(seed: number, heads = 2): Model {
    const builder = new ModelBuilder();
    const x = builder.input('x', ['n', tokens, width]);
    const split = builder.constant('split', int64Tensor([4], [0, tokens, heads, width / heads]));
    const [q, k, v] = ['q', 'k', 'v'].map((name, at) => {
      const projected = builder.node('MatMul', [x, builder.constant(name, noise([width, width], seed + at))]);
      const perm = { perm: attributeOf.ints(name === 'k' ? [0, 2, 3, 1] : [0, 2, 1, 3]) };
      return builder.node('Transpose', [builder.node('Reshape', [projected, split])], perm);
    });
    const map = builder.node('Softmax', [builder.node('MatMul', [q ?? x, k ?? x])], { axis: attributeOf.int(-1) });
    const mixed = builder.node('Flatten', [builder.node('MatMul', [map, v ?? x])]);
    return builder.output(builder.node('Gemm', [mixed, builder.constant('head', noise([tokens * width, 3], seed + 3))]), ['n', 3]).model;
  }

  const follow = (student: Model, losses: NonNullable<TrainingOptions['losses']>, epochs = 30) =>
    distill(
      student,
      { epochs, batch_size: 32, learning_rate: 0.01, losses },
      learningContext(sourceOf(samples), { source: attention(11) }),
    );

  test("the last maps and values find each other by themselves, and the student's come to the teacher's", async () => {
    const { training } = await follow(attention(1), [{ kind: 'attention-map' }, { kind: 'value-relation' }], 80);
    expect(training?.hints).toEqual([
      { student: 'Softmax_10_out', teacher: 'Softmax_10_out' },
      { student: 'Transpose_8_out', teacher: 'Transpose_8_out' },
    ]);
    const losing = training?.curve.map(({ loss }) => loss) ?? [];
    expect(losing.at(-1)).toBeLessThan(0.1 * (losing[0] ?? 0));
  });

  test('heads of another number are compared by their values, divided anew', async () => {
    const { training } = await follow(attention(1, 3), [{ kind: 'value-relation', heads: 1 }]);
    const losing = training?.curve.map(({ loss }) => loss) ?? [];
    expect(losing.at(-1)).toBeLessThan(0.1 * (losing[0] ?? 0));
    await expect(follow(attention(1, 3), [{ kind: 'attention-map' }])).rejects.toThrow("'value-relation' compares any");
  });

  test('scores by their correlations, and angles of what they are made of', async () => {
    const losses = [{ kind: 'dist' }, { kind: 'relation-angles' }, { kind: 'teacher-mae', weight: 0.1 }] as const;
    const { training } = await follow(attention(1), losses, 100);
    const losing = training?.curve.map(({ loss }) => loss) ?? [];
    expect(training?.losses).toEqual(['dist', 'relation-angles', 'teacher-mae']);
    expect(losing.at(-1)).toBeLessThan(0.5 * (losing[0] ?? 0));
  });
});

describe('pictures', () => {
  test('frequencies and affinities bring a small network after another one', async () => {
    /** Twice the size, by DepthToSpace. */
    const upscaler = (seed: number): Model => {
      const builder = new ModelBuilder();
      const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
      const x = builder.input('x', ['n', 1, 6, 6]);
      const hidden = builder.node('Relu', [builder.node('Conv', [x, builder.constant('w1', noise([6, 1, 3, 3], seed))], pads)]);
      const mixed = builder.node('Conv', [hidden, builder.constant('w2', noise([4, 6, 3, 3], seed + 1))], pads);
      return builder.output(builder.node('DepthToSpace', [mixed], { blocksize: attributeOf.int(2) }), ['n', 1, 12, 12]).model;
    };
    const source = sourceOf({ input: 'x', dims: [1, 6, 6], values: float32Values(noise([64, 1, 6, 6], 5, 2)) });
    const losses = [{ kind: 'teacher-frequency' }, { kind: 'affinity', weight: 0.1 }] as const;
    const teacher = upscaler(21);
    const { training } = await distill(
      upscaler(1),
      { epochs: 40, batch_size: 16, learning_rate: 0.02, losses },
      learningContext(source, { source: teacher }),
    );
    expect(training?.hints?.length).toBeGreaterThan(0);
    const losing = training?.curve.map(({ loss }) => loss) ?? [];
    expect(losing.at(-1)).toBeLessThan(0.4 * (losing[0] ?? 0));
  });
});
