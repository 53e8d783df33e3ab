/** The samples of a run source, read once and then taken in any order: what an epoch shuffles. */
import { EngineError } from '../engine-errors.js';
import { bytesInMemory, type DataType, type Tensor } from '../ir/index.js';
import type { RunSource, SampleRun } from '../method.js';
import { openRecords, type SampleRecords } from './sample-records.js';

export interface TrainingRows {
  /** By input of the graph. Memory of its own: the caller may write into it. */
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** One row per sample, as the data set has it; absent without labels. */
  readonly labels?: Tensor;
}

/** Must be closed. */
export interface TrainingData {
  readonly sampleCount: number;
  readonly labelled: boolean;
  /** Samples that a run of the graph as it is must take, as the source says; null for any number. */
  readonly fixedBatch: number | null;
  /** False when an input takes one whole value per run, so that samples stand alone. */
  readonly joinable: boolean;
  /** Samples in the order of `indices`, which may repeat. Throws RangeError for an index that is no sample. */
  rows(indices: ArrayLike<number>): Promise<TrainingRows>;
  close(): Promise<void>;
}

export interface TrainingDataOptions {
  /** Existing folder for the samples that memory does not take. */
  readonly scratch: string;
  /** Bytes of all samples up to which they are held in memory; default 256 MiB. */
  readonly memoryBytes?: number;
  readonly signal?: AbortSignal;
}

const MEMORY_BYTES = 256 * 2 ** 20;
/** Bytes that are read from the source at once. */
const RUN_BYTES = 4 * 2 ** 20;
/** Among the columns the labels have a name that no input of a graph can have. */
const LABELS = '';

/** One array of the samples: where its row lies in a record. */
interface Column {
  readonly name: string;
  readonly dataType: DataType;
  /** Dims of what one sample adds to the first axis; of the whole tensor when `joinable` is false. */
  readonly rowDims: readonly number[];
  /** False when a sample is one whole value without a sample axis (a state, a scalar): a batch takes one of it. */
  readonly joinable: boolean;
  readonly offset: number;
  readonly rowBytes: number;
}

/**
 * Reads all of `source`: inputs and labels lie side by side, one record per sample, in memory or uncompressed in a scratch file.
 * A scalar that feeds all samples is kept once. Throws EngineError `dataset_invalid` when the source does, or has no samples.
 */
export async function openTrainingData(source: RunSource, options: TrainingDataOptions): Promise<TrainingData> {
  const { scratch, memoryBytes = MEMORY_BYTES, signal } = options;
  let layout: Layout | undefined;
  let records: SampleRecords | undefined;
  try {
    for await (const run of source.runs(Math.max(1, Math.floor(RUN_BYTES / Math.max(1, source.sampleBytes))))) {
      signal?.throwIfAborted();
      layout ??= layoutOf(run, source.fixedBatch);
      records ??= await openRecords({ recordBytes: layout.recordBytes, count: source.sampleCount, memoryBytes, scratch });
      await records.append(recordsOf(run, layout));
    }
    if (!layout || !records) throw new EngineError('dataset_invalid', 'The data set has no samples.');
    return dataOver({ layout, records, source });
  } catch (error) {
    await records?.close();
    throw error;
  }
}

interface Layout {
  readonly columns: readonly Column[];
  readonly shared: ReadonlyMap<string, Tensor>;
  readonly recordBytes: number;
}

/** Only where a run takes one sample can a tensor without a sample axis be of that sample; otherwise it is of all. */
function layoutOf(run: SampleRun, fixedBatch: number | null): Layout {
  const columns: Column[] = [];
  const shared = new Map<string, Tensor>();
  let offset = 0;
  const named = run.labels ? [...run.feeds, [LABELS, run.labels] as const] : [...run.feeds];
  for (const [name, tensor] of named) {
    const rows = name === LABELS ? run.sampleCount : run.rows;
    const joinable = tensor.dims[0] === rows;
    if (!joinable && fixedBatch !== 1) {
      shared.set(name, tensor);
      continue;
    }
    const rowBytes = tensor.data.byteLength / rows;
    columns.push({ name, dataType: tensor.dataType, rowDims: joinable ? tensor.dims.slice(1) : tensor.dims, joinable, offset, rowBytes });
    offset += rowBytes;
  }
  return { columns, shared, recordBytes: offset };
}

/** The real samples of a run; what fills up a fixed batch is left out. Throws EngineError `dataset_invalid` for samples of another size. */
function recordsOf({ feeds, labels, sampleCount }: SampleRun, { columns, recordBytes }: Layout): Uint8Array {
  const records = new Uint8Array(recordBytes * sampleCount);
  for (const { name, offset, rowBytes, rowDims, joinable } of columns) {
    const tensor = name === LABELS ? labels : feeds.get(name);
    const dims = joinable ? tensor?.dims.slice(1) : tensor?.dims;
    if (dims?.join() !== rowDims.join())
      throw new EngineError(
        'dataset_invalid',
        `Training takes samples of one size, and these differ: [${rowDims}] and [${dims ?? ''}]. Cut them into pieces of one size.`,
      );
    const bytes = tensor?.data.read() ?? new Uint8Array();
    for (let row = 0; row < sampleCount; row++)
      records.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), row * recordBytes + offset);
  }
  return records;
}

function dataOver({ layout, records, source }: { layout: Layout; records: SampleRecords; source: RunSource }): TrainingData {
  const { columns, shared, recordBytes } = layout;
  return {
    sampleCount: source.sampleCount,
    labelled: columns.some(({ name }) => name === LABELS),
    fixedBatch: source.fixedBatch,
    joinable: columns.every(({ joinable }) => joinable),
    async rows(indices) {
      const whole = columns.find(({ joinable }) => !joinable);
      if (whole && indices.length !== 1)
        throw new EngineError('dataset_invalid', `Input "${whole.name}" takes one value per run, so samples cannot be batched.`, {
          array: whole.name,
        });
      const gathered = new Uint8Array(indices.length * recordBytes);
      await records.read(indices, gathered);
      const feeds = new Map(shared);
      for (const column of columns) feeds.set(column.name, columnOf(gathered, column, recordBytes));
      const labels = feeds.get(LABELS);
      feeds.delete(LABELS);
      return { feeds, ...(labels ? { labels } : {}) };
    },
    close: () => records.close(),
  };
}

function columnOf(records: Uint8Array, { dataType, rowDims, joinable, offset, rowBytes }: Column, recordBytes: number): Tensor {
  const count = records.byteLength / recordBytes;
  const bytes = new Uint8Array(count * rowBytes);
  for (let row = 0; row < count; row++)
    bytes.set(records.subarray(row * recordBytes + offset, row * recordBytes + offset + rowBytes), row * rowBytes);
  return { dataType, dims: joinable ? [count, ...rowDims] : rowDims, data: bytesInMemory(bytes) };
}
