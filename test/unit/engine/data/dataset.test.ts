/** Data sets: arrays meet the graph's inputs, samples come in order and in bounded pieces, misfits are named. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Dataset, openDataset } from '../../../../services/engine/data/dataset.js';
import { validateDataset } from '../../../../services/engine/data/validate-dataset.js';
import { type DataType, float32Values, integerValues, type Shape, type Tensor } from '../../../../services/engine/ir/index.js';
import type { SampleRun } from '../../../../services/engine/method.js';
import type { InputOutputInfo } from '../../../../services/engine/runtime/execution-session.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { type ArraySpec, float32Array, int64Array, npyBytes, writeNpz } from '../../../support/write-npz.js';

const input = (name: string, shape: Shape | null, dataType: DataType = 'float32'): InputOutputInfo => ({ name, shape, dataType });
const counting = (count: number) => Array.from({ length: count }, (_, index) => index);

async function opened(arrays: Record<string, ArraySpec>, inputs: readonly InputOutputInfo[], options = {}): Promise<Dataset> {
  const folder = await temporaryFolder();
  const path = join(folder, 'data.npz');
  await writeNpz(path, arrays, options);
  return openDataset({ path, scratch: folder }, inputs);
}

async function allRuns(dataset: Dataset, size: number, limit?: number): Promise<SampleRun[]> {
  const runs: SampleRun[] = [];
  for await (const run of dataset.runs(size, limit)) runs.push(run);
  await dataset.close();
  return runs;
}

const floats = (tensor: Tensor | undefined) => (tensor ? Array.from(float32Values(tensor)) : []);

describe('openDataset', () => {
  test.each([{ compress: false }, { compress: true }])('samples come in order with their labels, %o', async (options) => {
    const dataset = await opened(
      { x: float32Array([5, 2], counting(10)), labels: int64Array([5], [4, 3, 2, 1, 0]) },
      [input('x', ['batch', 2])],
      options,
    );
    expect(dataset).toMatchObject({ sampleCount: 5, labelled: true, fixedBatch: null, sampleBytes: 8 });
    const runs = await allRuns(dataset, 2);
    expect(runs.map((run) => run.rows)).toEqual([2, 2, 1]);
    expect(runs.flatMap((run) => floats(run.feeds.get('x')))).toEqual(counting(10));
    expect(runs.flatMap((run) => (run.labels ? integerValues(run.labels) : []))).toEqual([4, 3, 2, 1, 0]);
    expect([...(runs[0]?.feeds.keys() ?? [])]).toEqual(['x']);
  });

  test('names that are no file names are fine', async () => {
    const dataset = await opened({ 'x:0': float32Array([1, 2], [1, 2]) }, [input('x:0', [null, 2])]);
    expect(floats((await allRuns(dataset, 1))[0]?.feeds.get('x:0'))).toEqual([1, 2]);
  });

  test('a fixed batch is filled up with the last sample, and only real samples count', async () => {
    const runs = await allRuns(await opened({ x: float32Array([3, 1], [7, 8, 9]) }, [input('x', [2, 1])]), 64);
    expect(runs.map((run) => [run.rows, run.sampleCount, floats(run.feeds.get('x'))])).toEqual([
      [2, 2, [7, 8]],
      [2, 1, [9, 9]],
    ]);
  });

  test('an array with one axis more feeds one whole value for each sample, a scalar feeds all', async () => {
    const inputs = [input('x', [1, 2]), input('state', [2, 1]), input('rate', [], 'int64')];
    const arrays = { x: float32Array([2, 2], [1, 2, 3, 4]), state: float32Array([2, 2, 1], [5, 6, 7, 8]), rate: int64Array([], [16000]) };
    const runs = await allRuns(await opened(arrays, inputs), 64);
    expect(runs.map((run) => [...run.feeds.values()].map((tensor) => tensor.dims))).toEqual([
      [[1, 2], [2, 1], []],
      [[1, 2], [2, 1], []],
    ]);
    expect(floats(runs[1]?.feeds.get('state'))).toEqual([7, 8]);
  });

  test('integers are widened and float64 narrowed to what the input takes', async () => {
    const float64 = { descr: '<f8', shape: [2, 1], bytes: new Uint8Array(Float64Array.from([0.5, 0.25]).buffer) };
    const int32 = { descr: '<i4', shape: [2, 1], bytes: new Uint8Array(Int32Array.from([3, -4]).buffer) };
    const runs = await allRuns(await opened({ x: float64, ids: int32 }, [input('x', ['n', 1]), input('ids', ['n', 1], 'int64')]), 2);
    expect(floats(runs[0]?.feeds.get('x'))).toEqual([0.5, 0.25]);
    expect(integerValues(runs[0]?.feeds.get('ids') as Tensor)).toEqual([3, -4]);
  });

  test('a .npy file feeds a model with one input, and no other', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'x.npy');
    await writeFile(path, npyBytes(float32Array([2, 2], counting(4))));
    const runs = await allRuns(await openDataset({ path, scratch: folder }, [input('pixels', ['n', 2])]), 8);
    expect(floats(runs[0]?.feeds.get('pixels'))).toEqual(counting(4));
    await expect(openDataset({ path, scratch: folder }, [input('a', ['n', 2]), input('b', ['n', 2])])).rejects.toMatchObject({
      code: 'dataset_invalid',
    });
  });

  test.each([
    ['text', Buffer.from('sample,label\n1,2\n')],
    ['nothing', Buffer.alloc(0)],
    ['a zip of something else', Buffer.from('504b0506000000000000000000000000000000000000', 'hex')],
  ])('%s is refused as no data set', async (_, bytes) => {
    const folder = await temporaryFolder();
    const path = join(folder, 'bad.npz');
    await writeFile(path, bytes);
    await expect(openDataset({ path, scratch: folder }, [input('x', [1])])).rejects.toMatchObject({ code: 'dataset_invalid' });
  });

  test('a cut off archive is refused', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'data.npz');
    await writeNpz(path, { x: float32Array([1000, 4], counting(4000)) });
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, whole.length / 2));
    await expect(openDataset({ path, scratch: folder }, [input('x', ['n', 4])])).rejects.toMatchObject({ code: 'dataset_invalid' });
  });

  test('spilled arrays land in the scratch folder only', async () => {
    const folder = await temporaryFolder();
    const scratch = await temporaryFolder();
    await writeNpz(join(folder, 'd.npz'), { '../../escape': float32Array([1, 1], [1]) }, { compress: true });
    const dataset = await openDataset({ path: join(folder, 'd.npz'), scratch }, [input('../../escape', ['n', 1])]);
    await dataset.close();
    expect(await readdir(folder)).toEqual(['d.npz']);
    expect(await readdir(scratch)).toHaveLength(1);
  });
});

describe('validateDataset', () => {
  const facts = (dims: readonly number[], dataType: DataType = 'float32') => ({ dataType, dims });

  test.each<[string, Record<string, ReturnType<typeof facts>>, InputOutputInfo[], RegExp]>([
    ['a missing array', { y: facts([2, 3]) }, [input('x', ['n', 3])], /"y".*no such input.*x/],
    ['an array of another type', { x: facts([2, 3], 'int64') }, [input('x', ['n', 3])], /"x" is int64.*takes float32/],
    ['another rank', { x: facts([2, 3, 4, 5]) }, [input('x', ['n', 3])], /shape \[2, 3, 4, 5\].*\[samples, 3\]/],
    ['another fixed size', { x: facts([2, 4]) }, [input('x', ['n', 3])], /shape \[2, 4\].*\[samples, 3\]/],
    [
      'different sample counts',
      { x: facts([2, 3]), z: facts([3, 3]) },
      [input('x', ['n', 3]), input('z', ['n', 3])],
      /"z" has 3 samples, but "x" has 2/,
    ],
    [
      'labels for another number of samples',
      { x: facts([2, 3]), labels: facts([5], 'int64') },
      [input('x', ['n', 3])],
      /"labels" has 5 samples/,
    ],
    ['no samples', { x: facts([0, 3]) }, [input('x', ['n', 3])], /no samples/],
  ])('%s is refused with the name, what was expected and what was found', (_, arrays, inputs, message) => {
    expect(() => validateDataset(new Map(Object.entries(arrays)), inputs)).toThrow(
      expect.objectContaining({ code: 'dataset_invalid', message: expect.stringMatching(message) }),
    );
  });

  test('an input that is named labels is an input', () => {
    expect(validateDataset(new Map([['labels', facts([2, 3])]]), [input('labels', ['n', 3])])).toMatchObject({
      labelled: false,
      sampleCount: 2,
    });
  });
});
