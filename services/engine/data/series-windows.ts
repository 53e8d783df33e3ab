/**
 * Sliding windows over series: arrays hold the rows of all time once, and a window is read when it is asked for. The file says so by
 * scalars beside them:
 *   window_history   rows of one sample; input X [rows, ...] becomes [windows, history, ...]
 *   window_horizon   rows that follow each window: those of `labels`, or of the only input where there is no such array
 *   window_stride    rows from one window to the next; 1 when absent
 *   season, naive_error, center, spread: see SeriesFacts
 */
import { EngineError } from '../engine-errors.js';
import { bytesInMemory, dataTypes, elementCount, float32Values, integerValues, type Tensor } from '../ir/index.js';
import type { SeriesFacts } from '../method.js';
import { castElements } from './cast-elements.js';
import type { NpyArray } from './npy.js';
import { LABELS } from './validate-dataset.js';

/** Rows that can be read, in a file or made from others. */
export type SampleArray = Pick<NpyArray, 'dataType' | 'dims' | 'rows' | 'whole' | 'close'>;

const HISTORY = 'window_history';
const HORIZON = 'window_horizon';
const STRIDE = 'window_stride';
const counts = [HISTORY, HORIZON, STRIDE, 'season'] as const;
const measures = ['naive_error', 'center', 'spread'] as const;

export interface SeriesArrays {
  /** What is left once the scalars are taken out; inputs and labels in windows. */
  readonly arrays: ReadonlyMap<string, SampleArray>;
  /** null for a file that says nothing of series. */
  readonly facts: SeriesFacts | null;
  /** The season before each window's horizon: what a seasonal naive forecast is made of. */
  readonly lastSeason: SampleArray | null;
}

function invalid(name: string, what: string): EngineError {
  return new EngineError('dataset_invalid', `Array "${name}": ${what}`, { array: name });
}

/** Scalars named as an input of the model are that input. Throws EngineError `dataset_invalid` for what does not fit. */
export async function seriesArrays(arrays: ReadonlyMap<string, SampleArray>, inputs: readonly string[]): Promise<SeriesArrays> {
  const named = new Map<string, number>();
  const rest = new Map(arrays);
  for (const name of [...counts, ...measures]) {
    const array = arrays.get(name);
    if (!array || inputs.includes(name)) continue;
    named.set(name, await scalarOf(array, name));
    rest.delete(name);
  }
  if (named.size === 0) return { arrays, facts: null, lastSeason: null };
  for (const name of counts) {
    const value = named.get(name);
    if (value !== undefined && (!Number.isSafeInteger(value) || value < 1)) throw invalid(name, 'it must be a whole number from 1 on.');
  }
  const facts = { naiveError: named.get('naive_error') ?? null, center: named.get('center') ?? 0, spread: named.get('spread') ?? 1 };
  const history = named.get(HISTORY);
  if (history === undefined) return { arrays: rest, facts: { ...facts, horizon: null }, lastSeason: null };
  const windows = windowed(rest, inputs, {
    history,
    horizon: named.get(HORIZON) ?? 0,
    stride: named.get(STRIDE) ?? 1,
    season: named.get('season') ?? null,
  });
  return { ...windows, facts: { ...facts, horizon: named.get(HORIZON) ?? null } };
}

async function scalarOf(array: SampleArray, name: string): Promise<number> {
  if (elementCount(array.dims) !== 1) throw invalid(name, 'it must be one number.');
  const tensor = await array.rows(0, 1);
  const isWhole = tensor.dataType.startsWith('int') || tensor.dataType.startsWith('uint');
  const value = isWhole ? integerValues(tensor)[0] : float32Values(await castElements(tensor, 'float32', name))[0];
  if (value === undefined || !Number.isFinite(value)) throw invalid(name, 'it must be one finite number.');
  return value;
}

interface WindowForm {
  readonly history: number;
  readonly horizon: number;
  readonly stride: number;
  readonly season: number | null;
}

function windowed(
  arrays: ReadonlyMap<string, SampleArray>,
  inputs: readonly string[],
  { history, horizon, stride, season }: WindowForm,
): Pick<SeriesArrays, 'arrays' | 'lastSeason'> {
  const series = [...arrays].filter(([name, { dims }]) => (inputs.includes(name) || name === LABELS) && dims.length > 0);
  const [first] = series;
  if (!first) throw invalid(HISTORY, 'there is no series to take windows of.');
  const rows = first[1].dims[0] ?? 0;
  const other = series.find(([, { dims }]) => dims[0] !== rows);
  if (other) throw invalid(other[0], `it has ${other[1].dims[0]} rows, but "${first[0]}" has ${rows}.`);
  const count = Math.floor((rows - history - horizon) / stride) + 1;
  if (count < 1) throw invalid(first[0], `${rows} rows hold no window of ${history} rows with ${horizon} behind it.`);
  const place = { count, stride };
  const windows = new Map(arrays);
  for (const [name, array] of series)
    if (name !== LABELS) windows.set(name, new WindowedArray(array, { ...place, offset: 0, length: history }));
  if (horizon === 0) {
    if (windows.has(LABELS)) throw invalid(LABELS, `windows with labels need "${HORIZON}".`);
    return { arrays: windows, lastSeason: null };
  }
  const target = arrays.get(LABELS) ?? (series.length === 1 ? first[1] : undefined);
  if (!target) return { arrays: windows, lastSeason: null };
  windows.set(LABELS, new WindowedArray(target, { ...place, offset: history, length: horizon }));
  if (season === null || season > history) return { arrays: windows, lastSeason: null };
  return { arrays: windows, lastSeason: new WindowedArray(target, { ...place, offset: history - season, length: season }) };
}

/** Row w is rows [w stride + offset, + length) of another array. */
class WindowedArray implements SampleArray {
  readonly dataType: SampleArray['dataType'];
  readonly dims: readonly number[];

  constructor(
    private readonly series: SampleArray,
    private readonly form: { readonly count: number; readonly stride: number; readonly offset: number; readonly length: number },
  ) {
    this.dataType = series.dataType;
    this.dims = [form.count, form.length, ...series.dims.slice(1)];
  }

  async rows(start: number, count: number): Promise<Tensor> {
    const { stride, offset, length } = this.form;
    const part = (await this.series.rows(start * stride + offset, (count - 1) * stride + length)).data.read();
    const rowBytes = (elementCount(this.series.dims.slice(1)) * dataTypes[this.dataType].bits) / 8;
    const bytes = new Uint8Array(count * length * rowBytes);
    for (let window = 0; window < count; window += 1) {
      const from = window * stride * rowBytes;
      bytes.set(part.subarray(from, from + length * rowBytes), window * length * rowBytes);
    }
    return { dataType: this.dataType, dims: [count, ...this.dims.slice(1)], data: bytesInMemory(bytes) };
  }

  whole(): Promise<Tensor> {
    return this.rows(0, this.form.count);
  }

  close(): Promise<void> {
    return this.series.close();
  }
}
