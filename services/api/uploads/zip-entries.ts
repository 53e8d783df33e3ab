/** The files of a .zip, one after the other, as bounded streams. */
import type { Readable } from 'node:stream';
import { type Entry, openPromise, type ZipFile } from 'yauzl';
import { archiveInvalid, EntryNames, entryPath, inflationMeter, type SizeBudget } from './archive-limits.js';

export interface ArchiveFile {
  readonly path: string;
  /** To be read to its end before the next file is asked for. */
  readonly content: Readable;
}

const stored = 0;
const deflated = 8;
const fileTypeMask = 0o170000;
const regularFile = 0o100000;

/** @throws AppError(archive_invalid, payload_too_large) */
export async function* zipEntries(path: string, budget: SizeBudget): AsyncGenerator<ArchiveFile> {
  const options = { lazyEntries: true, autoClose: false, validateEntrySizes: true, strictFileNames: true } as const;
  const zip = await openPromise(path, options).catch(refuse);
  const names = new EntryNames();
  try {
    for await (const entry of entriesOf(zip)) {
      const name = entryPath(entry.fileName);
      if (name === null) continue;
      names.add(name);
      checkKind(entry);
      const source = await zip.openReadStreamPromise(entry).catch(refuse);
      const meter = inflationMeter({ budget, compressedBytes: () => entry.compressedSize });
      source.once('error', (error) => meter.destroy(archiveInvalid(`The archive cannot be read: ${error.message}.`)));
      yield { path: name, content: source.pipe(meter) };
    }
  } finally {
    zip.close();
  }
}

async function* entriesOf(zip: ZipFile): AsyncGenerator<Entry> {
  try {
    yield* zip.eachEntry();
  } catch (error) {
    refuse(error);
  }
}

function checkKind(entry: Entry): void {
  const shown = JSON.stringify(entry.fileName.slice(0, 80));
  if (entry.isEncrypted()) throw archiveInvalid(`The archive is encrypted (${shown}).`);
  if (entry.compressionMethod !== stored && entry.compressionMethod !== deflated) {
    throw archiveInvalid(`${shown} is compressed with method ${entry.compressionMethod}; stored and deflate are accepted.`);
  }
  // Unix mode, when the archiver wrote one.
  const type = (entry.externalFileAttributes >>> 16) & fileTypeMask;
  if (type !== 0 && type !== regularFile) throw archiveInvalid(`${shown} is a link or a device; only plain files are accepted.`);
}

/** What yauzl says of a bad archive; our own refusals pass as they are. */
function refuse(error: unknown): never {
  if (error instanceof Error && error.name === 'AppError') throw error;
  throw archiveInvalid(`The archive cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
}
