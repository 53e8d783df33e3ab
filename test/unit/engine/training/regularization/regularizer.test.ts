/** Regularizers in recipes: what they are of, how they grow, and what they refuse. */
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, float32Tensor, float32Values, type Model } from '../../../../../services/engine/ir/index.js';
import { removableGroups } from '../../../../../services/engine/pruning/index.js';
import { distill, train } from '../../../../../services/engine/training/index.js';
import type { RegularizerChoice } from '../../../../../services/engine/training/regularization/regularizer.js';
import { classifier } from '../../../../support/build-model.js';
import { ModelBuilder, noise, operators, removeScratch } from '../../quantization/method-fixtures.js';
import { sum } from '../loss-fixtures.js';
import { blobs, learningContext, sourceOf } from '../training-fixtures.js';

afterAll(removeScratch);

const [filters, scales, head] = [noise([4, 2, 3, 3], 1), float32Tensor([4], [1, 2, 0.5, 1.5]), noise([4, 3], 2)];

/** conv -> (normalization) -> Relu -> mean -> Gemm. */
function network(isNormalized: boolean): Model {
  const builder = new ModelBuilder();
  const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const conv = builder.node('Conv', [builder.input('x', ['n', 2, 5, 5]), builder.constant('w', filters)], pads);
  const vector = (name: string, tensor: ReturnType<typeof noise>) => builder.constant(name, tensor);
  const normal = isNormalized
    ? builder.node('BatchNormalization', [
        conv,
        vector('scale', scales),
        vector('shift', noise([4], 3)),
        vector('mean', noise([4], 4)),
        vector('variance', float32Tensor([4], [1, 1, 1, 1])),
      ])
    : conv;
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [builder.node('Relu', [normal])])]);
  return builder.output(builder.node('Gemm', [mean, vector('head', head)]), ['n', 3]).model;
}

const source = sourceOf({
  input: 'x',
  dims: [2, 5, 5],
  values: float32Values(noise([64, 2, 5, 5], 9)),
  classes: Array.from({ length: 64 }, (_, at) => at % 3),
});
const context = learningContext(source, { removableGroups });
/** Nothing moves: the loss of each step is that of the model as it is. */
const still = { epochs: 4, batch_size: 64, learning_rate: 0 } as const;

async function losses(model: Model, regularizer?: RegularizerChoice): Promise<number[]> {
  const { training } = await train(model, { ...still, ...(regularizer ? { regularizer } : {}) }, context);
  return training?.curve.map(({ loss }) => loss) ?? [];
}

/** Squares of each channel: its filter, its scale and what reads it. */
const squares = Array.from({ length: 4 }, (_, channel) =>
  sum(
    [
      ...float32Values(filters).subarray(18 * channel, 18 * channel + 18),
      float32Values(scales)[channel] ?? 0,
      ...float32Values(head).subarray(3 * channel, 3 * channel + 3),
    ].map((value) => value ** 2),
  ),
);

describe('what is pulled', () => {
  test('group-lasso: each channel with its filter, its scale and what reads it, found through the normalization', async () => {
    const [plain = 0] = await losses(network(true));
    const [found = 0] = await losses(network(true), { kind: 'group-lasso', strength: 0.1 });
    expect(found - plain).toBeCloseTo(0.1 * sum(squares.map((square) => Math.sqrt(22 * square))), 4);
  });

  test('group-growing: the small ones most, and in every step more', async () => {
    const plain = await losses(network(true));
    const found = await losses(network(true), { kind: 'group-growing', strength: 0.1 });
    const [least, most] = [Math.min(...squares), Math.max(...squares)];
    const whole = (0.1 / 2) * sum(squares.map((square) => ((most - square) / (most - least)) * square));
    for (const [step, loss] of found.entries()) expect(loss - (plain[step] ?? 0)).toBeCloseTo((whole * (step + 1)) / 4, 4);
  });

  test('slimming: the scales of the model, or of fresh normalizations that are folded again', async () => {
    const [plain = 0] = await losses(network(true));
    const [found = 0] = await losses(network(true), { kind: 'slimming', strength: 0.1 });
    expect(found - plain).toBeCloseTo(0.5, 4);
    const folded = network(false);
    const options = { epochs: 60, batch_size: 32, learning_rate: 0.1, regularizer: { kind: 'slimming', strength: 0.5 } } as const;
    const { training } = await train(folded, options, context);
    expect(training?.regularizer).toMatchObject({ kind: 'slimming', strength: 0.5, units: 4 });
    expect(operators(folded)).toEqual(operators(network(false)));
    const weights = [...folded.graph.initializers].find(([, { dims }]) => dims.length === 4)?.[1];
    const norms = Array.from({ length: 4 }, (_, row) => Math.hypot(...float32Values(weights ?? filters).subarray(18 * row, 18 * row + 18)));
    expect(Math.max(...norms)).toBeLessThan(0.05);
  });

  test('after a teacher, too', async () => {
    const { classes: _, ...unlabelled } = blobs({ count: 64, features: 16, classes: 10 });
    const regularizer = { kind: 'group-lasso', strength: 0.01 } as const;
    const { training } = await distill(
      classifier(),
      { epochs: 1, regularizer },
      learningContext(sourceOf(unlabelled), { source: classifier(), removableGroups }),
    );
    expect(training?.regularizer).toEqual({ kind: 'group-lasso', strength: 0.01, units: 32, near_zero: 0 });
  });
});

describe('what is refused', () => {
  test('scales of a model without normalizations, and scales that are frozen', async () => {
    const regularizer = { kind: 'slimming' } as const;
    await expect(train(network(false), { ...still, batch_normalization: 'batch', regularizer }, context)).rejects.toThrow(
      '"insert" puts some behind convolutions, and \'group-lasso\' needs none',
    );
    await expect(train(network(true), { ...still, frozen: ['scale'], batch_normalization: 'batch', regularizer }, context)).rejects.toThrow(
      'none is trained whose channels can go',
    );
  });

  test('channels of a model that has none to prune', async () => {
    const builder = new ModelBuilder();
    const line = builder.node('Gemm', [builder.input('x', ['n', 16]), builder.constant('w', noise([16, 10], 1))]);
    const { model } = builder.output(line, ['n', 10]);
    const samples = learningContext(sourceOf(blobs({ count: 64, features: 16, classes: 10 })), { removableGroups });
    await expect(train(model, { epochs: 1, regularizer: { kind: 'group-lasso' } }, samples)).rejects.toThrow(
      'no trained ones were found that could be pruned',
    );
  });
});
