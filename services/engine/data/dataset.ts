/** A .npz or .npy file opened against the inputs of a graph: a stream of samples in bounded memory. */
import { open } from 'node:fs/promises';
import { EngineError } from '../engine-errors.js';
import { byteCount, bytesInMemory, elementCount, integerValues, type Tensor } from '../ir/index.js';
import type { RunSource, SampleRun } from '../method.js';
import type { ExecutionSession, InputOutputInfo } from '../runtime/execution-session.js';
import { withStates } from './carried-states.js';
import { castElements } from './cast-elements.js';
import { NpyArray } from './npy.js';
import { openNpz } from './npz.js';
import { numberedName } from './numbered-arrays.js';
import { type SampleArray, type SeriesArrays, seriesArrays } from './series-windows.js';
import { type DatasetBinding, type InputBinding, LABELS, SEQUENCES, sampleDims, validateDataset } from './validate-dataset.js';

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

/** A model with a memory, which is run for its states. */
export interface StatefulModel {
  readonly outputs: readonly InputOutputInfo[];
  /** Called when there are states to carry; the data set closes the session. */
  open(): Promise<ExecutionSession>;
}

/**
 * Inputs that the file has no array for are states when `model` carries them: zero at first, then what the run before left
 * (state-pairs.ts). An array `sequences` says which samples follow each other. Throws EngineError `dataset_invalid` when the file
 * cannot be read or does not fit the inputs.
 */
export async function openDataset(
  { path, scratch }: DatasetFile,
  inputs: readonly InputOutputInfo[],
  model?: StatefulModel,
): Promise<Dataset> {
  const opened = await openArrays(path, scratch, inputs);
  try {
    const series = await seriesArrays(
      opened,
      inputs.map(({ name }) => name),
    );
    const { arrays } = series;
    const binding = validateDataset(arrays, inputs, model?.outputs);
    const dataset = { ...datasetOver(series, binding), close: () => closeAll(opened) };
    return model && binding.states.length > 0 ? statefulDataset(dataset, { arrays, binding, model }) : dataset;
  } catch (error) {
    await closeAll(opened);
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

async function closeAll(arrays: ReadonlyMap<string, SampleArray>): Promise<void> {
  for (const array of arrays.values()) await array.close();
}

function datasetOver({ arrays, facts, lastSeason }: SeriesArrays, binding: DatasetBinding): Omit<Dataset, 'close'> {
  const { labelled } = binding;
  return {
    ...(facts ? { series: facts } : {}),
    sampleCount: binding.sampleCount,
    labelled,
    fixedBatch: binding.fixedBatch,
    sampleBytes: binding.inputs.reduce((sum, { input }) => sum + byteCount(input.dataType, sampleElements(arrays, input.name, binding)), 0),
    async *runs(size, limit = binding.sampleCount) {
      const rows = binding.fixedBatch ?? size;
      const end = Math.min(limit, binding.sampleCount);
      for (let start = 0; start < end; start += rows) {
        const sampleCount = Math.min(rows, end - start);
        const fed = binding.fixedBatch === null ? sampleCount : rows;
        const feeds = new Map<string, Tensor>();
        for (const bound of binding.inputs)
          feeds.set(bound.input.name, await feedOf(arrays, bound, { start, count: sampleCount, rows: fed }));
        const range = { start, count: sampleCount };
        const labels = labelled ? { labels: await labelsOf(arrays, binding, range) } : {};
        const before = labelled && lastSeason ? { lastSeason: await lastSeason.rows(start, sampleCount) } : {};
        yield { feeds, rows: fed, sampleCount, ...labels, ...before };
      }
    },
  };
}

/** Elements of one sample; of the largest one where they differ. */
function sampleElements(arrays: ReadonlyMap<string, SampleArray>, name: string, { sampleCount }: DatasetBinding): number {
  const array = arrays.get(name);
  if (array) return elementCount(array.dims.slice(1));
  const sizes = Array.from({ length: sampleCount }, (_, sample) => elementCount(arrays.get(numberedName(name, sample))?.dims ?? []));
  return Math.max(0, ...sizes);
}

async function labelsOf(
  arrays: ReadonlyMap<string, SampleArray>,
  { labelsNumbered }: DatasetBinding,
  { start, count }: { start: number; count: number },
): Promise<Tensor> {
  const array = arrays.get(labelsNumbered ? numberedName(LABELS, start) : LABELS);
  if (!array) throw new EngineError('dataset_invalid', 'The data set lacks array "labels".', { array: LABELS });
  return labelsNumbered ? array.whole() : array.rows(start, count);
}

/** A session is opened when the first run is asked for. */
function statefulDataset(
  dataset: Dataset,
  { arrays, binding, model }: { arrays: ReadonlyMap<string, SampleArray>; binding: DatasetBinding; model: StatefulModel },
): Dataset {
  const sequences = binding.sequenced ? arrays.get(SEQUENCES) : undefined;
  let opened: Promise<ExecutionSession> | undefined;
  const stateBytes = binding.states.reduce((sum, { input, dims }) => sum + byteCount(input.dataType, elementCount(dims)), 0);
  return {
    ...dataset,
    sampleBytes: dataset.sampleBytes + stateBytes,
    states: binding.states.map(({ input, output }) => ({ input: input.name, output })),
    async *runs(size, limit): AsyncGenerator<SampleRun> {
      opened ??= model.open();
      yield* withStates(dataset.runs(size, limit), {
        states: binding.states,
        session: await opened,
        async sequenceOf(sample) {
          return sequences ? (integerValues(await sequences.rows(sample, 1))[0] ?? 0) : 0;
        },
      });
    },
    async close() {
      await dataset.close();
      const session = await opened?.catch(() => undefined);
      await session?.close();
    },
  };
}

async function readRows(
  arrays: ReadonlyMap<string, SampleArray>,
  input: InputOutputInfo,
  range: { start: number; count: number },
): Promise<Tensor> {
  const array = arrays.get(input.name);
  if (!array) throw new EngineError('dataset_invalid', `The data set lacks array "${input.name}".`, { array: input.name });
  return castElements(await array.rows(range.start, range.count), input.dataType, input.name);
}

async function feedOf(
  arrays: ReadonlyMap<string, SampleArray>,
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
    case 'numbered': {
      const name = numberedName(input.name, start);
      const array = arrays.get(name);
      if (!array) throw new EngineError('dataset_invalid', `The data set lacks array "${name}".`, { array: name });
      const sample = await castElements(await array.whole(), input.dataType, name);
      return { ...sample, dims: sampleDims(sample.dims, input.shape?.length ?? sample.dims.length) };
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
