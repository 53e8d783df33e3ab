/** Models that declare one sample per run learn from batches all the same, where they can be run in batches. */
import { afterAll, describe, expect, test } from 'vitest';
import { attributeOf, float32Values, int64Tensor, type Model } from '../../../../services/engine/ir/index.js';
import type { RunSource } from '../../../../services/engine/method.js';
import { distill, train } from '../../../../services/engine/training/index.js';
import { ModelBuilder, noise, removeScratch } from '../quantization/method-fixtures.js';
import { blobs, learningContext, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

const samples = blobs({ count: 96, features: 12, classes: 4 });
const free = sourceOf({ ...samples, dims: [3, 4] });
const oneByOne = (source: RunSource): RunSource => ({ ...source, fixedBatch: 1, runs: (_rows, limit) => source.runs(1, limit) });
const options = { epochs: 2, batch_size: 16, learning_rate: 0.05, optimizer: { name: 'sgd' } } as const;

/** [B, 3, 4] to 4 scores; `batch` as the file declares it. */
function network(batch: number | string, seed: number): Model {
  const builder = new ModelBuilder();
  const rows = builder.constant('rows', int64Tensor([2], [typeof batch === 'number' ? batch : -1, 12]));
  const flat = builder.node('Reshape', [builder.input('x', [batch, 3, 4]), rows]);
  const hidden = builder.node('Relu', [builder.node('MatMul', [flat, builder.constant('w1', noise([12, 8], seed))])]);
  const y = builder.node('MatMul', [hidden, builder.constant('w2', noise([8, 4], seed + 1))]);
  return builder.output(y, [batch, 4]).model;
}

const weightsOf = ({ graph }: Model) =>
  [...graph.initializers].filter(([{ name }]) => name.startsWith('w')).map(([{ name }, tensor]) => [name, [...float32Values(tensor)]]);

describe('a graph with a batch of one', () => {
  test('learns, bit for bit, what the same graph with a free batch learns, and stays as it was declared', async () => {
    const [declared, open] = [network(1, 1), network('n', 1)];
    const { training, warnings } = await train(declared, options, learningContext(oneByOne(free)));
    await train(open, options, learningContext(free));
    expect(training?.steps).toBe(12);
    expect(warnings).toEqual([]);
    expect(weightsOf(declared)).toEqual(weightsOf(open));
    expect(weightsOf(declared)).not.toEqual(weightsOf(network(1, 1)));
    expect(declared.graph.inputs[0]?.type).toMatchObject({ shape: [1, 3, 4] });
    expect(declared.graph.outputs[0]?.type).toMatchObject({ shape: [1, 4] });
  });

  test('follows a teacher with a batch of one', async () => {
    const [declared, open] = [network(1, 1), network('n', 1)];
    const { training } = await distill(
      declared,
      { ...options, teacher: 'given' },
      { ...learningContext(oneByOne(free)), teacher: network(1, 7) },
    );
    await distill(open, { ...options, teacher: 'given' }, { ...learningContext(free), teacher: network('n', 7) });
    expect(training?.steps).toBe(12);
    expect(weightsOf(declared)).toEqual(weightsOf(open));
  });

  test('learns from one sample per step where samples change the answers for each other, and says so', async () => {
    const builder = new ModelBuilder();
    const x = builder.input('x', [1, 3, 4]);
    const first = { axes: attributeOf.ints([0]) };
    const centred = builder.node('Sub', [x, builder.node('ReduceMean', [x], first)]);
    const shifted = builder.node('Add', [centred, builder.constant('shift', noise([3, 4], 3))]);
    const y = builder.node('MatMul', [shifted, builder.constant('w', noise([4, 1], 2))]);
    const { model } = builder.output(y, [1, 3, 1]);
    const { input, values } = samples;
    const valued = sourceOf({ input, dims: [3, 4], values, targets: { dims: [3, 1], values: new Float32Array(96 * 3) } });
    const { training, warnings } = await train(model, { ...options, epochs: 1 }, learningContext(oneByOne(valued)));
    expect(training?.steps).toBe(96);
    expect(warnings?.join()).toContain('one sample per run');
  });
});
