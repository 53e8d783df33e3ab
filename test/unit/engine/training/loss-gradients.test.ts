/** Gradients for the criteria of pruning, against central differences of the loss. */
import { afterAll, describe, expect, test } from 'vitest';
import { cloneModel, float32Tensor, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import { lossGradients } from '../../../../services/engine/training/loss-gradients.js';
import { classifier } from '../../../support/build-model.js';
import { outputsOf, removeScratch } from '../quantization/method-fixtures.js';
import { blobs, learningContext, sourceOf } from './training-fixtures.js';

afterAll(removeScratch);

const samples = blobs({ count: 10, features: 16, classes: 10 });
const { classes = [], ...unlabelled } = samples;

async function gathered(model: Model, source: ReturnType<typeof sourceOf>, batch: number): Promise<ReadonlyMap<string, Float32Array>[]> {
  const all: ReadonlyMap<string, Float32Array>[] = [];
  const request = { model, constants: ['w1', 'b2', 'unread'], samples: source, batch, context: learningContext(source) };
  for await (const gradients of lossGradients(request)) all.push(new Map([...gradients].map(([name, values]) => [name, values.slice()])));
  return all;
}

/** Cross-entropy of rows `from` to `to` with the given classes. */
async function crossEntropy(model: Model, rows: readonly number[], answers: readonly number[]): Promise<number> {
  const x = float32Tensor(
    [rows.length, 16],
    rows.flatMap((row) => [...samples.values.subarray(16 * row, 16 * row + 16)]),
  );
  const [logits = new Float32Array()] = await outputsOf(model, { x });
  const losses = rows.map((_, at) => {
    const scores = [...logits.subarray(10 * at, 10 * at + 10)];
    const top = Math.max(...scores);
    return Math.log(scores.reduce((sum, score) => sum + Math.exp(score - top), 0)) + top - (scores[answers[at] ?? 0] ?? 0);
  });
  return losses.reduce((sum, loss) => sum + loss, 0) / rows.length;
}

async function numeric(constant: string, at: number, loss: (model: Model) => Promise<number>): Promise<number> {
  const h = 1e-2;
  const moved = async (by: number): Promise<number> => {
    const model = cloneModel(classifier());
    for (const [value, tensor] of model.graph.initializers) {
      if (value.name !== constant) continue;
      const values = float32Values(tensor).slice();
      values[at] = (values[at] ?? 0) + by;
      model.graph.initializers.set(value, float32Tensor(tensor.dims, values));
    }
    return loss(model);
  };
  return ((await moved(h)) - (await moved(-h))) / (2 * h);
}

describe('lossGradients', () => {
  test('one map per full batch: the gradient of the mean loss of its samples', async () => {
    const found = await gathered(classifier(), sourceOf(samples), 4);
    expect(found).toHaveLength(2);
    for (const [batch, gradients] of found.entries()) {
      const rows = [0, 1, 2, 3].map((row) => row + 4 * batch);
      const answers = rows.map((row) => classes[row] ?? 0);
      for (const at of [3, 77, 200])
        expect(gradients.get('w1')?.[at]).toBeCloseTo(await numeric('w1', at, (model) => crossEntropy(model, rows, answers)), 2);
    }
  });

  test('without whole numbers as labels nothing tells classes: half the mean square of the outputs stands in', async () => {
    const [first] = await gathered(classifier(), sourceOf(unlabelled), 1);
    const x = float32Tensor([1, 16], samples.values.slice(0, 16));
    const halfSquare = async (model: Model): Promise<number> => {
      const [logits = new Float32Array()] = await outputsOf(model, { x });
      return logits.reduce((sum, value) => sum + value ** 2, 0) / (2 * logits.length);
    };
    for (const at of [0, 5, 9]) expect(first?.get('b2')?.[at]).toBeCloseTo(await numeric('b2', at, halfSquare), 3);
  });

  test('a constant that the loss does not depend on has the gradient zero', async () => {
    const model = classifier();
    model.graph.addInitializer('unread', float32Tensor([3], [1, 2, 3]));
    const [first] = await gathered(model, sourceOf(samples), 2);
    expect([...(first?.get('unread') ?? [])]).toEqual([0, 0, 0]);
  });
});
