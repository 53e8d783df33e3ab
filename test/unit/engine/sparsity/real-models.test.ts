/** Trained models of the shared data, where they are at hand. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resnet8 } from '../../../../bench/quantization/subjects.js';
import { float32Tensor, float32Values, type Model } from '../../../../services/engine/ir/index.js';
import { decodeModelFile } from '../../../../services/engine/onnx/index.js';
import { findSampleInputs } from '../../../../services/engine/runtime/sample-inputs.js';
import { type SparsityOptions, sparsity } from '../../../../services/engine/sparsity/index.js';
import { outputsOf, removeScratch, runtime } from '../quantization/method-fixtures.js';
import { contextWith, weightsOf, written, zeroCount } from './sparse-models.js';

afterAll(removeScratch);

let images: ReturnType<typeof resnet8.test>;
let calibration: ReturnType<typeof resnet8.test>;

async function accuracy(model: Model, count: number): Promise<number> {
  const { values, labels } = images;
  let right = 0;
  for (let at = 0; at < count; at += 500) {
    const [logits = new Float32Array()] = await outputsOf(model, {
      input: float32Tensor([500, 1, 28, 28], values.slice(at * 784, (at + 500) * 784)),
    });
    for (let row = 0; row < 500; row += 1) {
      const own = logits.subarray(row * 10, row * 10 + 10);
      if (own.indexOf(Math.max(...own)) === labels?.[at + row]) right += 1;
    }
  }
  return right / count;
}

describe.skipIf(!existsSync(resnet8.modelPath))('sparsity of a trained residual network', () => {
  beforeAll(() => {
    images = resnet8.test();
    calibration = resnet8.calibration(100);
  });

  const pruned = async (options: SparsityOptions): Promise<number> => {
    const { values, dims } = calibration;
    const model = decodeModelFile(resnet8.modelPath);
    await sparsity(model, options, contextWith(float32Tensor([100, ...dims], values), 'input'));
    return accuracy(written(model), 1000);
  };

  it('keeps its accuracy by SparseGPT with half of the weights and with 2:4, where magnitude loses more', async () => {
    const dense = await accuracy(decodeModelFile(resnet8.modelPath), 1000);
    expect(await pruned({ sparsity: 0.5 })).toBeGreaterThan(dense - 0.01);
    expect(await pruned({ pattern: '2:4' })).toBeGreaterThan(dense - 0.02);
    expect(await pruned({ pattern: '2:4', criterion: 'magnitude' })).toBeLessThan(dense - 0.02);
  }, 60_000);

  it('keeps more of it when the zeros come in steps', async () => {
    const [atOnce, inSteps] = [await pruned({ sparsity: 0.8 }), await pruned({ sparsity: 0.8, schedule: { steps: 2 } })];
    expect(inSteps).toBeGreaterThan(atOnce + 0.05);
  }, 60_000);
});

const others = [
  'speech-enh/models/gtcrn.onnx',
  'speech-enh/gtcrn.onnx',
  'vad/models/silero_vad.onnx',
  'energy/models/pjm_lstm_att.onnx',
].map((path) => join('/work/shared/data', path));

describe('models with recurrent layers and branches', () => {
  it.each(others.filter((path) => existsSync(path)))('%s runs with half of its weights, of which each has its half', async (path) => {
    const model = decodeModelFile(path);
    const { layers = [] } = await sparsity(model, {}, contextWith());
    expect(layers.length).toBeGreaterThan(0);
    const session = await runtime.open(written(model));
    try {
      const samples = await findSampleInputs(model, session);
      const results = await session.run(samples.make(0));
      for (const tensor of results.values())
        if (tensor.dataType === 'float32') expect(float32Values(tensor).every(Number.isFinite)).toBe(true);
    } finally {
      await session.close();
    }
    const zeros = layers.reduce((sum, { nonzeros_before = 0, nonzeros_after = 0 }) => sum + nonzeros_before - nonzeros_after, 0);
    const before = layers.reduce((sum, { nonzeros_before = 0 }) => sum + nonzeros_before, 0);
    expect(zeros / before).toBeGreaterThan(0.49);
    expect([...weightsOf(model).values()].reduce((sum, values) => sum + zeroCount(values), 0)).toBeGreaterThanOrEqual(zeros);
  });
});
