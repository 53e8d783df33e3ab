/** Normalizations that are put in change nothing until something trains them, and leave nothing but other weights. */
import { afterAll, expect, test } from 'vitest';
import { attributeOf, float32Tensor, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import { insertNormalizations, unnormalizedConvolutions } from '../../../../services/engine/training/fresh-normalization.js';
import { train } from '../../../../services/engine/training/index.js';
import { ModelBuilder, noise, operators, outputsOf, removeScratch, runtime } from '../quantization/method-fixtures.js';
import { learningContext, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

/** Two convolutions with a residual sum, then classes. */
function network(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', 2, 5, 5]);
  const pads = { pads: attributeOf.ints([1, 1, 1, 1]) };
  const first = builder.node('Relu', [
    builder.node('Conv', [x, builder.constant('w1', noise([4, 2, 3, 3], 1)), builder.constant('b1', noise([4], 2))], pads),
  ]);
  const second = builder.node('Conv', [first, builder.constant('w2', noise([4, 4, 3, 3], 3))], pads);
  const sum = builder.node('Relu', [builder.node('Add', [second, first])]);
  const mean = builder.node('Flatten', [builder.node('GlobalAveragePool', [sum])]);
  return builder.output(builder.node('Gemm', [mean, builder.constant('head', noise([4, 3], 4))]), ['n', 3]).model;
}

const images = noise([64, 2, 5, 5], 9);

test('an inserted normalization is the identity, and its statistics are those of the data', async () => {
  const model = network();
  const [before = new Float32Array()] = await outputsOf(model, { x: images });
  const nodes = unnormalizedConvolutions(model);
  expect(nodes).toHaveLength(2);
  async function* batches() {
    for (const at of [0, 1]) yield new Map([['x', float32Tensor([32, 2, 5, 5], float32Values(images).slice(at * 1600, (at + 1) * 1600))]]);
  }
  await insertNormalizations(model, { nodes, batches: batches(), runtime });
  expect(operators(model).filter((operator) => operator === 'BatchNormalization')).toHaveLength(2);
  const [after = new Float32Array()] = await outputsOf(model, { x: images });
  for (const [at, value] of before.entries()) expect(after[at]).toBeCloseTo(value, 4);
  expect(unnormalizedConvolutions(model)).toEqual([]);
});

test('training with them leaves the operators of the model as they were', async () => {
  const model = network();
  const source = sourceOf({
    input: 'x',
    dims: [2, 5, 5],
    values: float32Values(images),
    classes: Array.from({ length: 64 }, (_, at) => at % 3),
  });
  const { training } = await train(
    model,
    { epochs: 6, batch_size: 16, learning_rate: 0.05, batch_normalization: 'insert' },
    learningContext(source),
  );
  expect(operators(model)).toEqual(operators(network()));
  const [first, last] = [training?.curve[0]?.loss ?? 0, training?.curve.at(-1)?.loss ?? 1];
  expect(last).toBeLessThan(first);
  const [outputs = new Float32Array()] = await outputsOf(model, { x: images });
  expect(outputs.every(Number.isFinite)).toBe(true);
});
