/** How small the files of a model are once they are packed, as for a download or an archive: zeros cost nothing there. */
import { createReadStream } from 'node:fs';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import type { ModelFiles } from './model-files.js';

/** gzip packs some 30 MB of float weights in a second: larger models are not packed only to know their size. */
const COMPRESSED_BYTES_MAX = 256 * 2 ** 20;

/** Bytes of the files, each packed by gzip at its default level; null for models above 256 MiB. Throws on cancellation. */
export async function compressedBytes({ paths, bytes }: ModelFiles, signal: AbortSignal): Promise<number | null> {
  if (bytes > COMPRESSED_BYTES_MAX) return null;
  let packed = 0;
  const count = (): Writable =>
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        packed += chunk.length;
        done();
      },
    });
  for (const path of paths) await pipeline(createReadStream(path), createGzip(), count(), { signal });
  return packed;
}
