/** Opens a .npz (a zip of .npy files): stored entries are read in place, deflated ones are spilled to the scratch folder. */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { EngineError } from '../engine-errors.js';
import { type FileRange, NpyArray } from './npy.js';

const STORED = 0;
const DEFLATED = 8;
const ENTRIES_MAX = 4096;
/** Sum over the deflated entries of a file: a small archive must not fill the disk. */
const INFLATED_BYTES_MAX = 16 * 2 ** 30;

function invalid(what: string): EngineError {
  return new EngineError('dataset_invalid', what);
}

/**
 * The arrays of a .npz file by name, without the ".npy" ending. The caller closes them; spilled files stay in `scratch`.
 * Throws EngineError `dataset_invalid` for anything but a readable zip of numeric arrays.
 */
export async function openNpz(path: string, scratch: string): Promise<Map<string, NpyArray>> {
  const zip = await openZip(path);
  const arrays = new Map<string, NpyArray>();
  try {
    let inflated = 0;
    for await (const entry of zip.eachEntry()) {
      /** A Buffer because of decodeStrings: false. */
      const fileName = String(entry.fileName);
      if (fileName.endsWith('/')) continue;
      if (arrays.size === ENTRIES_MAX) throw invalid(`The .npz file holds more than ${ENTRIES_MAX} arrays.`);
      const name = arrayName(fileName);
      if (arrays.has(name)) throw invalid(`The .npz file holds array "${name}" twice.`);
      if (entry.compressionMethod === DEFLATED) inflated += entry.uncompressedSize;
      if (inflated > INFLATED_BYTES_MAX) throw invalid(`The .npz file inflates to more than ${INFLATED_BYTES_MAX / 2 ** 30} GiB.`);
      arrays.set(name, await NpyArray.open(name, await locate(zip, entry, { path, scratch })));
    }
    if (arrays.size === 0) throw invalid('The .npz file holds no arrays.');
    return arrays;
  } catch (error) {
    for (const array of arrays.values()) await array.close();
    throw error instanceof EngineError ? error : invalid(`The .npz file cannot be read: ${error instanceof Error ? error.message : error}`);
  } finally {
    zip.close();
  }
}

async function openZip(path: string): Promise<ZipFile> {
  try {
    /** Names are taken as they are ("x:0.npy" is a fair array name); none is ever used as a path. */
    return await openPromise(path, { lazyEntries: true, autoClose: false, validateEntrySizes: true, decodeStrings: false });
  } catch (error) {
    throw invalid(`The data set is not a .npz file: ${error instanceof Error ? error.message : error}`);
  }
}

function arrayName(fileName: string): string {
  if (!fileName.endsWith('.npy')) throw invalid(`The .npz file holds "${fileName.slice(0, 200)}", which is not an array (.npy).`);
  return fileName.slice(0, -'.npy'.length);
}

async function locate(zip: ZipFile, entry: Entry, { path, scratch }: { path: string; scratch: string }): Promise<FileRange> {
  if (entry.isEncrypted()) throw invalid('Encrypted .npz files are not supported.');
  if (entry.compressionMethod === STORED) {
    const { fileDataStart } = await zip.readLocalFileHeaderPromise(entry, { minimal: true });
    if (fileDataStart + entry.uncompressedSize > (await stat(path)).size) throw invalid('The .npz file is cut off.');
    return { path, offset: fileDataStart, byteLength: entry.uncompressedSize };
  }
  if (entry.compressionMethod !== DEFLATED)
    throw invalid(`Zip compression method ${entry.compressionMethod} is not supported; numpy.savez_compressed uses deflate.`);
  const spilled = join(scratch, `array-${randomUUID()}.npy`);
  await pipeline(await zip.openReadStreamPromise(entry), atMost(entry.uncompressedSize), createWriteStream(spilled, { flags: 'wx' }));
  return { path: spilled, offset: 0, byteLength: entry.uncompressedSize };
}

/** The directory's size is a promise of whoever made the file; this keeps it. */
function atMost(bytesMax: number): Transform {
  let seen = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      seen += chunk.length;
      if (seen > bytesMax) done(new Error('an entry is longer than the directory says'));
      else done(null, chunk);
    },
  });
}
