/** The files of a .tar or .tar.gz, one after the other, as bounded streams. */
import { createReadStream } from 'node:fs';
import { PassThrough, Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { AppError } from '#contracts';
import { archiveInvalid, EntryNames, entryPath, inflationMeter, type SizeBudget } from './archive-limits.js';
import type { ArchiveFile } from './zip-entries.js';

/** @throws AppError(archive_invalid, payload_too_large) */
export async function* tarEntries(
  path: string,
  { gzip, budget }: { readonly gzip: boolean; readonly budget: SizeBudget },
): AsyncGenerator<ArchiveFile> {
  let read = 0;
  const count = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      read += chunk.length;
      done(null, chunk);
    },
  });
  const meter = inflationMeter({ budget, compressedBytes: () => (gzip ? read : Number.MAX_SAFE_INTEGER) });
  const tar = extract();
  const flow = pipeline(createReadStream(path), count, gzip ? createGunzip() : new PassThrough(), meter, tar);
  flow.catch(() => undefined);
  const names = new EntryNames();
  try {
    for await (const entry of tar) {
      const { name, type } = entry.header;
      if (type === 'directory') {
        entry.resume();
        continue;
      }
      if (type !== 'file' && type !== 'contiguous-file')
        throw archiveInvalid(`${JSON.stringify(name.slice(0, 80))} is a link or a device; only plain files are accepted.`);
      const file = entryPath(name);
      if (file === null) throw archiveInvalid('The archive has a file without a name.');
      names.add(file);
      yield { path: file, content: Readable.from(entry) };
    }
    await flow;
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw archiveInvalid(`The archive cannot be read: ${error instanceof Error ? error.message : String(error)}.`);
  } finally {
    tar.destroy();
  }
}
