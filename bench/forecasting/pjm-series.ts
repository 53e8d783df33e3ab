/**
 * The load of the PJM grid by the protocol of its PROVENANCE.md: sorted, missing hours filled linearly; load standardised by the training
 * part, sine and cosine of the hour, weekend; 168 hours to the next 24. Train 70 %, validation to 80 %, test the rest.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { float32Array, int64Array, writeNpz } from '../../test/support/write-npz.js';
import { dataFolder } from '../quantization/subjects.js';
import type { SeriesFiles } from '../training/series.js';

const HISTORY = 168;
const HORIZON = 24;
const DAY = 24;
const HOUR_MS = 3_600_000;
const FEATURES = 4;

interface Loads {
  readonly start: number;
  readonly values: Float64Array;
}

/** One load per hour from the first on. */
function hourlyLoads(): Loads {
  const lines = readFileSync(join(dataFolder, 'energy/PJM_Load_hourly.csv'), 'utf8').trim().split('\n').slice(1);
  const rows = lines.map((line) => {
    const [time = '', load] = line.split(',');
    return { at: Date.parse(`${time.trim().replace(' ', 'T')}Z`), load: Number(load) };
  });
  const known = new Map(rows.toSorted((a, b) => a.at - b.at).map(({ at, load }) => [at, load]));
  const [start, end] = [Math.min(...known.keys()), Math.max(...known.keys())];
  const values = Float64Array.from({ length: (end - start) / HOUR_MS + 1 }, (_, hour) => known.get(start + hour * HOUR_MS) ?? Number.NaN);
  for (let hour = 1; hour < values.length; hour += 1) {
    if (!Number.isNaN(values[hour])) continue;
    let next = hour;
    while (Number.isNaN(values[next])) next += 1;
    const before = values[hour - 1] ?? 0;
    values[hour] = before + ((values[next] ?? before) - before) / (next - hour + 1);
  }
  return { start, values };
}

/** `testStride`: hours from one test window to the next. */
export async function pjmFiles(folder: string, testStride: number): Promise<SeriesFiles> {
  mkdirSync(folder, { recursive: true });
  const { start, values } = hourlyLoads();
  const rows = values.length;
  const [trainEnd, validationEnd] = [Math.floor(rows * 0.7), Math.floor(rows * 0.8)];
  const known = values.subarray(0, trainEnd);
  const mean = known.reduce((sum, value) => sum + value, 0) / trainEnd;
  const deviation = Math.sqrt(known.reduce((sum, value) => sum + (value - mean) ** 2, 0) / trainEnd);
  const naive = known.subarray(DAY).reduce((sum, value, hour) => sum + Math.abs(value - (known[hour] ?? 0)), 0) / (trainEnd - DAY);
  const features = new Float32Array(rows * FEATURES);
  for (const [hour, load] of values.entries()) {
    const time = new Date(start + hour * HOUR_MS);
    const angle = (2 * Math.PI * time.getUTCHours()) / DAY;
    const weekend = [0, 6].includes(time.getUTCDay()) ? 1 : 0;
    features.set([(load - mean) / deviation, Math.sin(angle), Math.cos(angle), weekend], hour * FEATURES);
  }
  const scalar = (value: number) => int64Array([], [value]);
  const write = async (name: string, { from, to, stride }: { from: number; to: number; stride: number }): Promise<string> => {
    const path = join(folder, `pjm.${name}.npz`);
    if (existsSync(path)) return path;
    const labels = Float32Array.from({ length: to - from }, (_, row) => features[(from + row) * FEATURES] ?? 0);
    await writeNpz(path, {
      input: float32Array([to - from, FEATURES], features.subarray(from * FEATURES, to * FEATURES)),
      labels: float32Array([to - from], labels),
      ...{ window_history: scalar(HISTORY), window_horizon: scalar(HORIZON), window_stride: scalar(stride), season: scalar(DAY) },
      ...{ center: float32Array([], [mean]), spread: float32Array([], [deviation]), naive_error: float32Array([], [naive / deviation]) },
    });
    return path;
  };
  return {
    train: await write('train', { from: 0, to: trainEnd, stride: 1 }),
    validation: await write('validation', { from: trainEnd - HISTORY, to: validationEnd, stride: 1 }),
    test: await write(`test-${testStride}`, { from: validationEnd - HISTORY, to: rows, stride: testStride }),
  };
}
