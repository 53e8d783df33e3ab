/** Windows over series are what cutting them out gives, and a file that does not fit is named. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openDataset } from '../../../../services/engine/data/dataset.js';
import { float32Values, type Shape } from '../../../../services/engine/ir/index.js';
import type { SampleRun } from '../../../../services/engine/method.js';
import { temporaryFolder } from '../../../support/temporary-folder.js';
import { type ArraySpec, float32Array, int64Array, writeNpz } from '../../../support/write-npz.js';

const rows = 11;
/** Row r, column c: 10 r + c. */
const series = (columns: number): ArraySpec =>
  float32Array(
    [rows, columns],
    Array.from({ length: rows * columns }, (_, at) => 10 * Math.floor(at / columns) + (at % columns)),
  );
const one = (value: number): ArraySpec => int64Array([], [value]);
const input = (name: string, shape: Shape) => ({ name, shape, dataType: 'float32' as const });

async function read(arrays: Record<string, ArraySpec>, size = 2) {
  const folder = await temporaryFolder();
  const path = join(folder, 'data.npz');
  await writeNpz(path, arrays);
  const dataset = await openDataset({ path, scratch: folder }, [input('x', ['n', 3, 2])]);
  const runs: SampleRun[] = [];
  for await (const run of dataset.runs(size)) runs.push(run);
  await dataset.close();
  return { dataset, runs };
}

const windowOf = (first: number, length: number): number[] =>
  Array.from({ length: length * 2 }, (_, at) => 10 * (first + Math.floor(at / 2)) + (at % 2));

describe('windows over a series', () => {
  test('with what follows them as labels and the season before it', async () => {
    const { dataset, runs } = await read({ x: series(2), window_history: one(3), window_horizon: one(2), season: one(2) });
    expect(dataset).toMatchObject({ sampleCount: 7, labelled: true, series: { horizon: 2, center: 0, spread: 1, naiveError: null } });
    const parts = (pick: (run: SampleRun) => ReturnType<Map<string, never>['get']> | SampleRun['labels']) =>
      runs.flatMap((run) => {
        const tensor = pick(run);
        return tensor ? [...float32Values(tensor)] : [];
      });
    const cut = (offset: number, length: number) => Array.from({ length: 7 }, (_, window) => windowOf(window + offset, length)).flat();
    expect(parts((run) => run.feeds.get('x'))).toEqual(cut(0, 3));
    expect(parts((run) => run.labels)).toEqual(cut(3, 2));
    expect(parts((run) => run.lastSeason)).toEqual(cut(1, 2));
    expect(runs[0]?.labels?.dims).toEqual([2, 2, 2]);
  });

  test('in strides, with labels of another series', async () => {
    const labels = float32Array(
      [rows],
      Array.from({ length: rows }, (_, row) => -row),
    );
    const { runs, dataset } = await read({ x: series(2), labels, window_history: one(3), window_horizon: one(2), window_stride: one(3) });
    expect(dataset.sampleCount).toBe(3);
    expect(runs.flatMap(({ labels: found }) => (found ? [...float32Values(found)] : []))).toEqual([-3, -4, -6, -7, -9, -10]);
    expect([...float32Values(runs[1]?.feeds.get('x') as never)]).toEqual(windowOf(6, 3));
  });

  test('without a horizon they have no labels', async () => {
    const { dataset } = await read({ x: series(2), window_history: one(3) });
    expect(dataset).toMatchObject({ sampleCount: 9, labelled: false });
  });

  test('the unit of percentages is for samples that were cut before, too', async () => {
    const x = float32Array([2, 3, 2], windowOf(0, 6));
    const labels = float32Array([2, 1], [1, 2]);
    const { dataset } = await read({
      x,
      labels,
      center: float32Array([], [100]),
      spread: float32Array([], [25]),
      naive_error: float32Array([], [0.5]),
    });
    expect(dataset).toMatchObject({ sampleCount: 2, series: { horizon: null, center: 100, spread: 25, naiveError: 0.5 } });
  });

  test.each([
    ['too few rows', { window_history: one(10), window_horizon: one(2) }, /hold no window/],
    ['a history of 0', { window_history: one(0) }, /whole number/],
    ['labels of other length', { labels: float32Array([5], [0, 0, 0, 0, 0]), window_history: one(3), window_horizon: one(1) }, /5 rows/],
    ['labels without a horizon', { labels: series(1), window_history: one(3) }, /window_horizon/],
    ['a vector in place of a number', { window_history: int64Array([2], [3, 3]) }, /one number/],
  ])('%s is refused', async (_, spec, message) => {
    await expect(read({ x: series(2), ...spec })).rejects.toThrow(message);
  });
});
