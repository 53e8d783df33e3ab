/** Training data: rows of any samples in any order are those of the data set, from memory and from a scratch file alike. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Dataset, openDataset } from '../../../../services/engine/data/dataset.js';
import { type DataType, float32Tensor, float32Values, integerValues, type Shape } from '../../../../services/engine/ir/index.js';
import type { RunSource } from '../../../../services/engine/method.js';
import type { InputOutputInfo } from '../../../../services/engine/runtime/execution-session.js';
import { openTrainingData } from '../../../../services/engine/training/training-data.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { type ArraySpec, float32Array, int64Array, writeNpz } from '../../../support/write-npz.js';

const input = (name: string, shape: Shape | null, dataType: DataType = 'float32'): InputOutputInfo => ({ name, shape, dataType });
const counting = (count: number) => Array.from({ length: count }, (_, index) => index);

async function dataset(folder: string, arrays: Record<string, ArraySpec>, inputs: readonly InputOutputInfo[]): Promise<Dataset> {
  const path = join(folder, 'data.npz');
  await writeNpz(path, arrays);
  return openDataset({ path, scratch: folder }, inputs);
}

const COUNT = 23;
const arrays = {
  x: float32Array([COUNT, 2, 3], counting(COUNT * 6)),
  mask: int64Array([COUNT], counting(COUNT)),
  labels: int64Array(
    [COUNT, 2],
    counting(COUNT * 2).map((value) => value * 10),
  ),
};
const inputs = [input('x', ['batch', 2, 3]), input('mask', ['batch'], 'int64')];

describe('openTrainingData', () => {
  test.each([
    ['memory', 1 << 20],
    ['a scratch file', 100],
  ])('takes rows in any order, with their labels, from %s', async (_, memoryBytes) => {
    const folder = await temporaryFolder();
    const source = await dataset(folder, arrays, inputs);
    const data = await openTrainingData(source, { scratch: folder, memoryBytes });
    expect(data).toMatchObject({ sampleCount: COUNT, labelled: true, fixedBatch: null });
    expect((await readdir(folder)).length).toBe(memoryBytes === 100 ? 2 : 1);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(COUNT - 1), { minLength: 1, maxLength: 30 }), async (indices) => {
        const { feeds, labels } = await data.rows(indices);
        const [x, mask] = [feeds.get('x'), feeds.get('mask')];
        expect([...feeds.keys()]).toEqual(['x', 'mask']);
        expect([x?.dims, mask?.dims, labels?.dims]).toEqual([[indices.length, 2, 3], [indices.length], [indices.length, 2]]);
        expect(x && [...float32Values(x)]).toEqual(indices.flatMap((index) => counting(6).map((at) => index * 6 + at)));
        expect(mask && integerValues(mask)).toEqual(indices);
        expect(labels && integerValues(labels)).toEqual(indices.flatMap((index) => [index * 20, index * 20 + 10]));
      }),
      { numRuns: 30 },
    );
    await source.close();
    await data.close();
    expect(await readdir(folder)).toEqual(['data.npz']);
  });

  test('refuses samples of different sizes', async () => {
    const source: RunSource = {
      ...{ sampleCount: 2, fixedBatch: 1, sampleBytes: 64 },
      async *runs() {
        for (const side of [4, 3])
          yield { feeds: new Map([['x', float32Tensor([1, side, side], new Float32Array(side * side))]]), rows: 1, sampleCount: 1 };
      },
    };
    await expect(openTrainingData(source, { scratch: await temporaryFolder() })).rejects.toThrow(/samples of one size/);
  });

  test('what the caller writes into a batch does not come again', async () => {
    const folder = await temporaryFolder();
    const source = await dataset(folder, arrays, inputs);
    const data = await openTrainingData(source, { scratch: folder });
    (await data.rows([3])).feeds.get('x')?.data.read().fill(0);
    const again = (await data.rows([3])).feeds.get('x');
    expect(again && [...float32Values(again)]).toEqual([18, 19, 20, 21, 22, 23]);
    await source.close();
  });

  test('samples that fill up a fixed batch are not among the data', async () => {
    const folder = await temporaryFolder();
    const source = await dataset(folder, { x: float32Array([5, 1], counting(5)) }, [input('x', [2, 1])]);
    const data = await openTrainingData(source, { scratch: folder });
    expect(data).toMatchObject({ sampleCount: 5, labelled: false, fixedBatch: 2 });
    const { feeds, labels } = await data.rows([4, 0, 4]);
    const x = feeds.get('x');
    expect(x && [...float32Values(x)]).toEqual([4, 0, 4]);
    expect(labels).toBeUndefined();
    await source.close();
  });

  test.each([1, 4])('a scalar for all samples is fed with every batch, %i samples or more', async (count) => {
    const folder = await temporaryFolder();
    const specs = { x: float32Array([count, 2], counting(count * 2)), scale: float32Array([], [0.5]) };
    const source = await dataset(folder, specs, [input('x', [null, 2]), input('scale', [])]);
    const data = await openTrainingData(source, { scratch: folder });
    const { feeds } = await data.rows([0, 0]);
    const scale = feeds.get('scale');
    expect(feeds.get('x')?.dims).toEqual([2, 2]);
    expect(scale?.dims).toEqual([]);
    expect(scale && [...float32Values(scale)]).toEqual([0.5]);
    await source.close();
  });

  test('samples with one whole value per run come one at a time', async () => {
    const folder = await temporaryFolder();
    const specs = { x: float32Array([3, 1, 2], counting(6)), state: float32Array([3, 2, 1], [7, 8, 9, 10, 11, 12]) };
    const source = await dataset(folder, specs, [input('x', [null, 1, 2]), input('state', [2, 1])]);
    const data = await openTrainingData(source, { scratch: folder });
    const { feeds } = await data.rows([1]);
    const state = feeds.get('state');
    expect(state?.dims).toEqual([2, 1]);
    expect(state && [...float32Values(state)]).toEqual([9, 10]);
    await expect(data.rows([0, 1])).rejects.toMatchObject({ code: 'dataset_invalid', details: { array: 'state' } });
    await source.close();
  });

  test.each([
    ['memory', 1 << 20],
    ['a scratch file', 100],
  ])('an index that is no sample is an error, from %s', async (_, memoryBytes) => {
    const folder = await temporaryFolder();
    const source = await dataset(folder, arrays, inputs);
    const data = await openTrainingData(source, { scratch: folder, memoryBytes });
    for (const index of [COUNT, -1, 0.5]) await expect(data.rows([index])).rejects.toThrow(RangeError);
    await source.close();
    await data.close();
  });

  test('an aborted reading leaves no scratch file', async () => {
    const folder = await temporaryFolder();
    const source = await dataset(folder, arrays, inputs);
    const stop = new AbortController();
    const slow = {
      ...source,
      async *runs() {
        for await (const run of source.runs(4)) {
          yield run;
          stop.abort();
        }
      },
    };
    await expect(openTrainingData(slow, { scratch: folder, memoryBytes: 0, signal: stop.signal })).rejects.toThrow(/abort/i);
    expect(await readdir(folder)).toEqual(['data.npz']);
    await source.close();
  });
});
