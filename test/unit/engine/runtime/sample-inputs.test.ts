/** Feeds made from declarations alone: sizes that run, indices inside their tables, the same for the same index. */
import { describe, expect, test } from 'vitest';
import { attributeOf, float32Values, type Graph, int64Tensor, integerValues, type Model } from '../../../../services/engine/ir/index.js';
import { indexBound } from '../../../../services/engine/runtime/index-bounds.js';
import { createOrtRuntime } from '../../../../services/engine/runtime/ort-session.js';
import { findSampleInputs, type SampleMaker } from '../../../../services/engine/runtime/sample-inputs.js';
import { buildModel, classifier, weights } from '../../../support/build-model.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';

async function samplesOf(model: Model): Promise<SampleMaker> {
  const session = await createOrtRuntime({ scratch: await temporaryFolder() }).open(model);
  try {
    return await findSampleInputs(model, session);
  } finally {
    await session.close();
  }
}

const embedding = (rows: number) =>
  buildModel({
    inputs: [
      { name: 'ids', dataType: 'int64', shape: ['batch', 'sequence'] },
      { name: 'attention_mask', dataType: 'int64', shape: ['batch', 'sequence'] },
    ],
    outputs: [{ name: 'y', shape: ['batch', 'sequence', 4] }],
    constants: { table: weights([rows, 4]), axis: int64Tensor([1], [2]) },
    nodes: [
      { opType: 'Gather', inputs: ['table', 'ids'], outputs: ['e'] },
      { opType: 'Cast', inputs: ['attention_mask'], outputs: ['m'], attributes: { to: attributeOf.int(1) } },
      { opType: 'Unsqueeze', inputs: ['m', 'axis'], outputs: ['m1'] },
      { opType: 'Mul', inputs: ['e', 'm1'], outputs: ['y'] },
    ],
  });

describe('findSampleInputs', () => {
  test('open axes get batch 1 and a usual sequence length, one size for one symbol', async () => {
    const { shapes } = await samplesOf(embedding(7));
    expect(Object.fromEntries(shapes)).toEqual({ ids: [1, 64], attention_mask: [1, 64] });
  });

  test('indices stay inside the table they select from, masks are one', async () => {
    const maker = await samplesOf(embedding(7));
    const feeds = maker.make(3);
    const ids = integerValues(feeds.get('ids') ?? int64Tensor([0], []));
    expect(ids.every((id) => id >= 0 && id < 7)).toBe(true);
    expect(new Set(ids).size).toBeGreaterThan(3);
    expect(new Set(integerValues(feeds.get('attention_mask') ?? int64Tensor([0], [])))).toEqual(new Set([1]));
  });

  test('the same index gives the same feeds, another index others', async () => {
    const maker = await samplesOf(classifier());
    const bytes = (index: number) => Buffer.from(maker.make(index).get('x')?.data.read() ?? []);
    expect(bytes(5)).toEqual(bytes(5));
    expect(bytes(5)).not.toEqual(bytes(6));
  });

  test('floats are standard normal', async () => {
    const maker = await samplesOf(classifier({ features: 4000 }));
    const x = maker.make(0).get('x');
    const values = x ? Array.from(float32Values(x)) : [];
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(0.08);
    expect(Math.abs(variance - 1)).toBeLessThan(0.1);
  });

  /** Position embeddings end somewhere: the first size that runs is taken. */
  test('a sequence longer than the model allows is made shorter', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['batch', 'sequence'] }],
      outputs: [{ name: 'y', shape: null }],
      constants: { shape: int64Tensor([2], [1, 16]) },
      nodes: [{ opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
    });
    expect((await samplesOf(model)).shapes.get('x')).toEqual([1, 16]);
  });

  test('a model that runs with no size is refused with the reason', async () => {
    const model = buildModel({
      inputs: [{ name: 'x', shape: ['batch', 'sequence'] }],
      outputs: [{ name: 'y', shape: null }],
      constants: { shape: int64Tensor([2], [1, 17]) },
      nodes: [{ opType: 'Reshape', inputs: ['x', 'shape'], outputs: ['y'] }],
    });
    await expect(samplesOf(model)).rejects.toMatchObject({ code: 'model_unsupported', message: expect.stringContaining('data set') });
  });
});

describe('indexBound', () => {
  const first = (graph: Graph) => graph.inputs[0] ?? null;

  test('the smallest of several tables decides, through casts', () => {
    const model = buildModel({
      inputs: [{ name: 'ids', dataType: 'int32', shape: [2] }],
      outputs: [{ name: 'y', shape: [2, 4] }],
      constants: { small: weights([5, 4]), large: weights([9, 4]) },
      nodes: [
        { opType: 'Cast', inputs: ['ids'], outputs: ['long'], attributes: { to: attributeOf.int(7) } },
        { opType: 'Gather', inputs: ['large', 'ids'], outputs: ['a'] },
        { opType: 'Gather', inputs: ['small', 'long'], outputs: ['b'] },
        { opType: 'Add', inputs: ['a', 'b'], outputs: ['y'] },
      ],
    });
    const input = first(model.graph);
    expect(input && indexBound(model.graph, input)).toBe(5);
  });

  test('an input that indexes nothing has no bound', () => {
    const model = classifier();
    const input = first(model.graph);
    expect(input && indexBound(model.graph, input)).toBeNull();
  });
});
