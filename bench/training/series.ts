/** Windows of ETTh1 by the usual protocol: standardised by the first twelve months, test on months 17 to 20. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { float32Array, int64Array, writeNpz } from '../../test/support/write-npz.js';
import { dataFolder } from '../quantization/subjects.js';

export const HISTORY = 96;
export const HORIZON = 24;
export const SERIES = 7;
const SEASON = 24;
const MONTH = 30 * 24;
const TRAIN_END = 12 * MONTH;
const VALIDATION_END = 16 * MONTH;
const TEST_END = 20 * MONTH;

export interface SeriesFiles {
  readonly train: string;
  readonly validation: string;
  readonly test: string;
}

/** Rows of the seven series, standardised by mean and population deviation of the training months. */
function standardised(): Float64Array {
  const lines = readFileSync(join(dataFolder, 'etth/ETTh1.csv'), 'utf8').trim().split('\n').slice(1);
  const rows = lines.map((line) => line.split(',').slice(1).map(Number));
  const values = Float64Array.from(rows.flat());
  for (let series = 0; series < SERIES; series++) {
    const known = Array.from({ length: TRAIN_END }, (_, row) => values[row * SERIES + series] ?? 0);
    const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
    const deviation = Math.sqrt(known.reduce((sum, value) => sum + (value - mean) ** 2, 0) / known.length);
    for (let at = series; at < values.length; at += SERIES) values[at] = ((values[at] ?? 0) - mean) / deviation;
  }
  return values;
}

/** Windows whose targets lie in rows `from` to `to`. MASE is against the last day on the same windows. */
async function writeWindows(path: string, values: Float64Array, { from, to }: { from: number; to: number }): Promise<void> {
  await writeNpz(path, {
    input: float32Array([to - from + HISTORY, SERIES], values.subarray((from - HISTORY) * SERIES, to * SERIES)),
    ...{ window_history: int64Array([], [HISTORY]), window_horizon: int64Array([], [HORIZON]), season: int64Array([], [SEASON]) },
  });
}

export async function seriesFiles(folder: string): Promise<SeriesFiles> {
  mkdirSync(folder, { recursive: true });
  const values = standardised();
  const spans = {
    train: { from: HISTORY, to: TRAIN_END },
    validation: { from: TRAIN_END, to: VALIDATION_END },
    test: { from: VALIDATION_END, to: TEST_END },
  };
  const path = (name: string): string => join(folder, `etth1.${name}.npz`);
  for (const [name, span] of Object.entries(spans)) if (!existsSync(path(name))) await writeWindows(path(name), values, span);
  return { train: path('train'), validation: path('validation'), test: path('test') };
}
