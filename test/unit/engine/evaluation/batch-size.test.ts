/** Samples share a run only where each is answered as if it came alone. */
import { describe, expect, test } from 'vitest';
import { chooseBatchSize } from '../../../../services/engine/evaluation/batch-size.js';
import type { EvaluationInput } from '../../../../services/engine/evaluation/evaluation-input.js';
import { float32Tensor, int64Tensor, type Model, tensorOf } from '../../../../services/engine/ir/index.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { buildModel, classifier } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

const features = 16;
const row = (index: number) => Array.from({ length: features }, (_, column) => Math.sin(index * 7.3 + column) * (index + 1));

const samples = (sampleCount: number): EvaluationInput => ({
  sampleCount,
  sampleBytes: features * 4,
  fixedBatch: null,
  async *runs(size, limit = sampleCount) {
    for (let start = 0; start < limit; start += size) {
      const count = Math.min(size, limit - start);
      const values = Array.from({ length: count }, (_, index) => row(start + index)).flat();
      yield { feeds: new Map([['x', float32Tensor([count, features], values)]]), rows: count, sampleCount: count };
    }
  },
});

async function batchFor(models: readonly Model[], input: EvaluationInput): Promise<number> {
  const runtime = createOrtRuntime({ scratch: await temporaryFolder() });
  const sessions = await Promise.all(models.map((model) => runtime.open(model)));
  const size = await chooseBatchSize(sessions, input);
  for (const session of sessions) await session.close();
  return size;
}

/** DynamicQuantizeMatMul takes one range over all rows. */
const dynamicallyQuantized = buildModel({
  inputs: [{ name: 'x', shape: ['n', features] }],
  outputs: [{ name: 'logits', shape: ['n', 10] }],
  constants: {
    w: tensorOf(
      'int8',
      [features, 10],
      Int8Array.from({ length: features * 10 }, (_, i) => ((i * 29) % 200) - 100),
    ),
    s: float32Tensor([], [0.01]),
    z: tensorOf('int8', [], Int8Array.of(0)),
  },
  nodes: [{ opType: 'DynamicQuantizeMatMul', domain: 'com.microsoft', inputs: ['x', 'w', 's', 'z'], outputs: ['logits'] }],
});

/** A reshape with a batch of one written into it. */
const batchOfOne = buildModel({
  inputs: [{ name: 'x', shape: ['n', features] }],
  outputs: [{ name: 'y', shape: null }],
  constants: { shape: int64Tensor([2], [1, features]) },
  nodes: [{ opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
});

describe('chooseBatchSize', () => {
  test('a plain classifier takes many samples at once, never more than there are', async () => {
    expect(await batchFor([classifier()], samples(1000))).toBe(64);
    expect(await batchFor([classifier()], samples(5))).toBe(5);
  });

  test('large samples bound the batch', async () => {
    expect(await batchFor([classifier()], { ...samples(1000), sampleBytes: 2 ** 20 })).toBe(4);
    expect(await batchFor([classifier()], { ...samples(1000), sampleBytes: 2 ** 30 })).toBe(1);
  });

  test('dynamic quantization, whose ranges span the batch, is measured one sample at a time', async () => {
    expect(await batchFor([classifier(), dynamicallyQuantized], samples(1000))).toBe(1);
  });

  test('a graph that takes one sample is given one', async () => {
    expect(await batchFor([batchOfOne], samples(1000))).toBe(1);
  });

  test('a fixed batch is kept', async () => {
    expect(await batchFor([classifier()], { ...samples(1000), fixedBatch: 8 })).toBe(8);
  });
});
