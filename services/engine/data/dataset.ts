/** A .npz or .npy file opened against the inputs of a graph: a stream of samples in bounded memory. */
import { open } from 'node:fs/promises';
import { EngineError } from '../engine-errors.js';
import { byteCount, bytesInMemory, elementCount, type Tensor } from '../ir/index.js';
import type { RunSource } from '../method.js';
import type { InputOutputInfo } from '../runtime/execution-session.js';
import { castElements } from './cast-elements.js';
import { NpyArray } from './npy.js';
import { openNpz } from './npz.js';
import { type DatasetBinding, type InputBinding, LABELS, validateDataset } from './validate-dataset.js';

/** Must be closed. */
export interface Dataset extends RunSource {
  readonly labelled: boolean;
  close(): Promise<void>;
}

export interface DatasetFile {
  readonly path: string;
  /** Existing folder that compressed arrays are spilled to. */
  readonly scratch: string;
}

/** Throws EngineError `dataset_invalid` when the file cannot be read or does not fit the inputs. */
export async function openDataset({ path, scratch }: DatasetFile, inputs: readonly InputOutputInfo[]): Promise<Dataset> {
  const arrays = await openArrays(path, scratch, inputs);
  try {
    return datasetOver(arrays, validateDataset(arrays, inputs));
  } catch (error) {
    await closeAll(arrays);
    throw error;
  }
}

async function openArrays(path: string, scratch: string, inputs: readonly InputOutputInfo[]): Promise<Map<string, NpyArray>> {
  const file = await open(path, 'r').catch((cause: unknown) => {
    throw new EngineError('dataset_invalid', 'The data set cannot be opened.', {}, { cause });
  });
  const { size } = await file.stat();
  const magic = Buffer.alloc(6);
  await file.read(magic, 0, magic.length, 0);
  await file.close();
  if (magic.toString('latin1') !== '\x93NUMPY') return openNpz(path, scratch);
  const [input, another] = inputs;
  if (!input || another) {
    throw new EngineError(
      'dataset_invalid',
      `A .npy file fits a model with one input; this one has ${inputs.length}. Save a .npz with ${inputs.map(({ name }) => name).join(', ')}.`,
    );
  }
  return new Map([[input.name, await NpyArray.open(input.name, { path, offset: 0, byteLength: size })]]);
}

async function closeAll(arrays: ReadonlyMap<string, NpyArray>): Promise<void> {
  for (const array of arrays.values()) await array.close();
}

function datasetOver(arrays: ReadonlyMap<string, NpyArray>, binding: DatasetBinding): Dataset {
  const labels = binding.labelled ? arrays.get(LABELS) : undefined;
  return {
    sampleCount: binding.sampleCount,
    labelled: labels !== undefined,
    fixedBatch: binding.fixedBatch,
    sampleBytes: binding.inputs.reduce(
      (sum, { input }) => sum + byteCount(input.dataType, elementCount((arrays.get(input.name)?.dims ?? []).slice(1))),
      0,
    ),
    async *runs(size, limit = binding.sampleCount) {
      const rows = binding.fixedBatch ?? size;
      const end = Math.min(limit, binding.sampleCount);
      for (let start = 0; start < end; start += rows) {
        const sampleCount = Math.min(rows, end - start);
        const fed = binding.fixedBatch === null ? sampleCount : rows;
        const feeds = new Map<string, Tensor>();
        for (const bound of binding.inputs)
          feeds.set(bound.input.name, await feedOf(arrays, bound, { start, count: sampleCount, rows: fed }));
        yield { feeds, rows: fed, sampleCount, ...(labels ? { labels: await labels.rows(start, sampleCount) } : {}) };
      }
    },
    close: () => closeAll(arrays),
  };
}

async function readRows(
  arrays: ReadonlyMap<string, NpyArray>,
  input: InputOutputInfo,
  range: { start: number; count: number },
): Promise<Tensor> {
  const array = arrays.get(input.name);
  if (!array) throw new EngineError('dataset_invalid', `The data set lacks array "${input.name}".`, { array: input.name });
  return castElements(await array.rows(range.start, range.count), input.dataType, input.name);
}

async function feedOf(
  arrays: ReadonlyMap<string, NpyArray>,
  { input, feeding }: InputBinding,
  { start, count, rows }: { start: number; count: number; rows: number },
): Promise<Tensor> {
  switch (feeding) {
    case 'shared':
      return readRows(arrays, input, { start: 0, count: 1 });
    case 'stacked': {
      const stacked = await readRows(arrays, input, { start, count: 1 });
      return { ...stacked, dims: stacked.dims.slice(1) };
    }
    case 'batched': {
      const batch = await readRows(arrays, input, { start, count });
      return count === rows ? batch : repeatLastRow(batch, rows);
    }
    default:
      return feeding satisfies never;
  }
}

/** A graph with a fixed batch size is given the last sample again in the free places. */
function repeatLastRow(batch: Tensor, rows: number): Tensor {
  const bytes = batch.data.read();
  const count = batch.dims[0] ?? 1;
  const rowBytes = bytes.byteLength / count;
  const filled = new Uint8Array(rowBytes * rows);
  filled.set(bytes);
  for (let row = count; row < rows; row++) filled.set(bytes.subarray((count - 1) * rowBytes), row * rowBytes);
  return { ...batch, dims: [rows, ...batch.dims.slice(1)], data: bytesInMemory(filled) };
}
