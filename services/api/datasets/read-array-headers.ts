/** An uploaded .npz or .npy -> the names, types and shapes of its arrays; elements are neither read nor inflated. */
import { open, stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { AppError } from '#contracts';
import type { DatasetArray } from '../deps.js';
import { datasetInvalid, npyHeaderBytesMax, parseNpyHeader } from './npy-header.js';

export interface DatasetFacts {
  readonly format: 'npz' | 'npy';
  readonly sampleCount: number;
  readonly arrays: readonly DatasetArray[];
}

const arraysMax = 4096;
/** A .npy has no name for its array. */
const soleArrayName = 'data';

/** @throws AppError(dataset_invalid, payload_too_large); `maxBytes` is for the arrays as they will be inflated by a job */
export async function readArrayHeaders(path: string, { maxBytes }: { readonly maxBytes: number }): Promise<DatasetFacts> {
  const head = await readHead(path);
  if (head.toString('latin1', 0, 2) === 'PK') {
    const arrays = await readNpz(path, maxBytes);
    return { format: 'npz', arrays, sampleCount: sampleCount(arrays) };
  }
  const { dtype, shape, totalBytes } = parseNpyHeader(head, soleArrayName);
  checkLength(soleArrayName, totalBytes, (await stat(path)).size);
  const arrays = [{ name: soleArrayName, dtype, shape }];
  return { format: 'npy', arrays, sampleCount: sampleCount(arrays) };
}

async function readHead(path: string): Promise<Buffer> {
  const handle = await open(path, 'r');
  try {
    const head = Buffer.alloc(npyHeaderBytesMax);
    const { bytesRead } = await handle.read(head, 0, head.length, 0);
    return head.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

async function readNpz(path: string, maxBytes: number): Promise<DatasetArray[]> {
  // Names are taken as they are ("x:0.npy" is a fair array name); none is ever used as a path.
  const zip = await openPromise(path, { lazyEntries: true, autoClose: false, decodeStrings: false }).catch(refuse);
  const arrays = new Map<string, DatasetArray>();
  let totalBytes = 0;
  try {
    for await (const entry of zip.eachEntry()) {
      const fileName = String(entry.fileName);
      if (fileName.endsWith('/')) continue;
      if (!fileName.endsWith('.npy')) throw datasetInvalid(fileName, 'the file holds something that is not an array (.npy).');
      const name = fileName.slice(0, -'.npy'.length);
      if (arrays.has(name)) throw datasetInvalid(name, 'the file holds it twice.');
      if (arrays.size === arraysMax) throw new AppError('dataset_invalid', `The file holds more than ${arraysMax} arrays.`);
      totalBytes += entry.uncompressedSize;
      if (totalBytes > maxBytes) throw new AppError('payload_too_large', `Inflated, at most ${maxBytes} bytes are accepted.`);
      arrays.set(name, await readEntry(zip, entry, name));
    }
  } catch (error) {
    refuse(error);
  } finally {
    zip.close();
  }
  if (arrays.size === 0) throw new AppError('dataset_invalid', 'The file holds no arrays.');
  return [...arrays.values()];
}

async function readEntry(zip: ZipFile, entry: Entry, name: string): Promise<DatasetArray> {
  if (entry.isEncrypted()) throw datasetInvalid(name, 'it is encrypted.');
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) throw datasetInvalid(name, 'only stored and deflate are supported.');
  const { dtype, shape, totalBytes } = parseNpyHeader(await firstBytes(await zip.openReadStreamPromise(entry)), name);
  checkLength(name, totalBytes, entry.uncompressedSize);
  return { name, dtype, shape };
}

async function firstBytes(source: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    // Leaving the loop destroys the stream: the rest is not inflated.
    if (length >= npyHeaderBytesMax) break;
  }
  return Buffer.concat(chunks);
}

function checkLength(name: string, promised: number, there: number): void {
  if (promised !== there) throw datasetInvalid(name, `its header promises ${promised} bytes, the file has ${there}.`);
}

/** Arrays without an axis hold one value for all samples; the others agree in their first axis, or are numbered, one per sample. */
function sampleCount(arrays: readonly DatasetArray[]): number {
  const numbered = numberedSamples(arrays);
  if (numbered !== null) return numbered;
  const [first, ...rest] = arrays.filter((array) => array.shape.length > 0);
  const count = first?.shape[0];
  if (first === undefined || count === undefined) throw new AppError('dataset_invalid', 'No array has a sample axis.');
  if (count === 0) throw datasetInvalid(first.name, 'it has no samples.');
  for (const { name, shape } of rest) {
    if (shape[0] !== count) throw datasetInvalid(name, `it has ${shape[0]} samples, "${first.name}" has ${count}.`);
  }
  return count;
}

/**
 * NAME_0, NAME_1, ... from 0 without gaps, alike for every such name: one array per sample. null when there are none, or when they look
 * like inputs with a number in their names: all with the same number of rows, above one.
 */
function numberedSamples(arrays: readonly DatasetArray[]): number | null {
  const names = new Set(arrays.map(({ name }) => name));
  const stems = [...names].filter((name) => name.endsWith('_0')).map((name) => name.slice(0, -1));
  const [count, ...others] = stems.map((stem) => countFrom(names, stem));
  if (count === undefined || others.some((each) => each !== count)) return null;
  const isSample = ({ name }: DatasetArray): boolean =>
    stems.some((stem) => name.startsWith(stem) && /^\d+$/.test(name.slice(stem.length)));
  const [samples, rest] = [arrays.filter(isSample), arrays.filter((array) => !isSample(array))];
  if (rest.some(({ shape }) => shape.length > 0 && shape[0] !== count)) return null;
  const rows = new Set(samples.map(({ shape }) => shape[0]));
  return rows.size > 1 || (rows.has(1) && count > 1) ? count : null;
}

function countFrom(names: ReadonlySet<string>, stem: string): number {
  let count = 0;
  while (names.has(`${stem}${count}`)) count += 1;
  return count;
}

function refuse(error: unknown): never {
  if (error instanceof AppError) throw error;
  throw new AppError('dataset_invalid', `The file is not a readable .npz: ${error instanceof Error ? error.message : String(error)}.`);
}
