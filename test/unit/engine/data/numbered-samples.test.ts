/** Samples of sizes of their own: one array per sample, as they are in the file, one run each. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openDataset } from '../../../../services/engine/data/dataset.js';
import { float32Values, integerValues } from '../../../../services/engine/ir/index.js';
import type { InputOutputInfo } from '../../../../services/engine/runtime/execution-session.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { type ArraySpec, float32Array, int64Array, writeNpz } from '../../../support/write-npz.js';

const image: InputOutputInfo = { name: 'x', dataType: 'float32', shape: ['batch', 1, 'height', 'width'] };
const pixels = (height: number, width: number, first = 0) =>
  float32Array(
    [1, 1, height, width],
    Array.from({ length: height * width }, (_, index) => first + index),
  );

async function opened(arrays: Record<string, ArraySpec>, inputs: readonly InputOutputInfo[] = [image]) {
  const folder = await temporaryFolder();
  await writeNpz(join(folder, 'data.npz'), arrays, { compress: true });
  return openDataset({ path: join(folder, 'data.npz'), scratch: folder }, inputs);
}

describe('numbered samples', () => {
  test('come in their order, each in its own sizes, with labels of their own sizes', async () => {
    const dataset = await opened({
      ...{ x_0: pixels(2, 3), x_1: pixels(1, 4, 50), x_2: float32Array([1, 2, 1], [8, 9]) },
      ...{ labels_0: pixels(4, 6), labels_1: pixels(2, 8, 7), labels_2: pixels(4, 2) },
    });
    expect(dataset).toMatchObject({ sampleCount: 3, fixedBatch: 1, labelled: true, sampleBytes: 24 });
    const seen = [];
    for await (const { feeds, labels, rows } of dataset.runs(16)) {
      const x = feeds.get('x');
      seen.push([rows, x?.dims, x && float32Values(x).at(-1), labels?.dims]);
    }
    await dataset.close();
    expect(seen).toEqual([
      [1, [1, 1, 2, 3], 5, [1, 1, 4, 6]],
      [1, [1, 1, 1, 4], 53, [1, 1, 2, 8]],
      // Without the batch axis, which is put before.
      [1, [1, 1, 2, 1], 9, [1, 1, 4, 2]],
    ]);
  });

  test('go with inputs and class labels that have a sample axis', async () => {
    const dataset = await opened(
      { x_0: pixels(1, 1), x_1: pixels(2, 2), scale: float32Array([2, 1], [3, 4]), labels: int64Array([2], [5, 6]) },
      [image, { name: 'scale', dataType: 'float32', shape: ['batch', 1] }],
    );
    const seen = [];
    for await (const { feeds, labels } of dataset.runs(4)) {
      const scale = feeds.get('scale');
      seen.push([scale && [...float32Values(scale)], labels && integerValues(labels)]);
    }
    await dataset.close();
    expect(seen).toEqual([
      [[3], [5]],
      [[4], [6]],
    ]);
  });

  test('an input that is named like a sample is an input', async () => {
    const named = { name: 'x_0', dataType: 'float32', shape: ['batch', 1] } as const;
    const dataset = await opened({ x_0: float32Array([2, 1], [1, 2]) }, [named]);
    expect(dataset).toMatchObject({ sampleCount: 2, fixedBatch: null });
    await dataset.close();
  });

  test.each([
    ['a gap', { x_0: pixels(1, 1), x_2: pixels(1, 1) }, /holds "x_2", but lacks "x_1": samples are numbered from 0 without gaps/],
    ['another channel count', { x_0: float32Array([1, 3, 2, 2], new Float32Array(12)) }, /"x_0" has shape \[1, 3, 2, 2\], but one sample/],
    ['too few labels', { x_0: pixels(1, 1), x_1: pixels(1, 1), labels_0: pixels(1, 1) }, /"labels" has 1 samples, but "x" has 2/],
    ['both forms', { x: pixels(1, 1), x_0: pixels(1, 1) }, /holds array "x_0", but the model has no such input/],
  ])('%s is refused', async (_, arrays, message) => {
    await expect(opened(arrays as unknown as Record<string, ArraySpec>)).rejects.toThrow(message);
  });

  test('hundreds of samples do not hold hundreds of files open', async () => {
    const dataset = await opened(Object.fromEntries(Array.from({ length: 1500 }, (_, index) => [`x_${index}`, pixels(1, 2, index)])));
    let count = 0;
    for await (const { feeds } of dataset.runs(1)) {
      const x = feeds.get('x');
      expect(x && float32Values(x)[0]).toBe(count);
      count += 1;
    }
    await dataset.close();
    expect(count).toBe(1500);
  });
});
