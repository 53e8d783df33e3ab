/** Uploads on their way in: a stream becomes a flushed local file whose digest and size are known, or nothing at all. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm, stat, statfs } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { AppError } from '#contracts';
import type { PutOptions, StoredBlob } from './blob-store.js';

export interface StagedFile extends StoredBlob {
  readonly path: string;
}

const FREE_SPACE_CHECK_BYTES = 64 * 1024 * 1024;

export class StagingArea {
  constructor(
    private readonly folder: string,
    private readonly minFreeBytes: number,
  ) {}

  /** Hands the staged file to `keep` and removes it afterwards, unless `keep` has moved it. */
  async receive(source: Readable, options: PutOptions, keep: (file: StagedFile) => Promise<void>): Promise<StoredBlob> {
    await this.requireSpace(options.expectedBytes ?? 0);
    if ((options.expectedBytes ?? 0) > options.maxBytes) throw tooLarge(options.maxBytes);
    const file = path.join(this.folder, `${randomUUID()}.part`);
    try {
      const blob = await this.write(file, source, options);
      await keep({ ...blob, path: file });
      return blob;
    } catch (error) {
      throw translate(error);
    } finally {
      await rm(file, { force: true });
    }
  }

  /** As receive, for a file on this machine. */
  receiveFile(file: string, keep: (file: StagedFile) => Promise<void>): Promise<StoredBlob> {
    return this.receive(createReadStream(file), { maxBytes: Number.MAX_SAFE_INTEGER }, keep);
  }

  async prepare(): Promise<void> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
  }

  /** Removes files not written to for `olderThanMs`; returns how many. */
  async sweep(olderThanMs: number): Promise<number> {
    await this.prepare();
    const files = (await readdir(this.folder)).filter((name) => name.endsWith('.part')).map((name) => path.join(this.folder, name));
    let removed = 0;
    for (const file of files) {
      const facts = await stat(file).catch(() => undefined);
      if (!facts || Date.now() - facts.mtimeMs < olderThanMs) continue;
      await rm(file, { force: true });
      removed += 1;
    }
    return removed;
  }

  private async requireSpace(bytes: number): Promise<void> {
    await this.prepare();
    const { bavail, bsize } = await statfs(this.folder);
    if (bavail * bsize - bytes < this.minFreeBytes)
      throw new AppError('storage_full', 'There is not enough free disk space for this upload.');
  }

  private async write(file: string, source: Readable, options: PutOptions): Promise<StoredBlob> {
    const hash = createHash('sha256');
    let bytes = 0;
    const handle = await open(file, 'wx', 0o600);
    try {
      for await (const chunk of source.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>) {
        const before = bytes;
        bytes += chunk.byteLength;
        if (bytes > options.maxBytes) throw tooLarge(options.maxBytes);
        if (Math.floor(before / FREE_SPACE_CHECK_BYTES) !== Math.floor(bytes / FREE_SPACE_CHECK_BYTES)) await this.requireSpace(0);
        hash.update(chunk);
        await writeAll(handle, chunk);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    const sha256 = hash.digest('hex');
    if (options.expectedSha256 !== undefined && options.expectedSha256 !== sha256) {
      throw new AppError('digest_mismatch', `The bytes received have the SHA-256 digest ${sha256}, not the declared one.`);
    }
    return { sha256, bytes };
  }
}

/** write(2) may take less than it was given. */
async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.byteLength; ) offset += (await handle.write(chunk, offset)).bytesWritten;
}

function tooLarge(maxBytes: number): AppError {
  return new AppError('payload_too_large', `At most ${maxBytes} bytes are accepted.`);
}

/** The sender went away, or the disk is full; anything else is what it is. */
function translate(cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT') return new AppError('storage_full', 'There is no disk space left.', { cause });
  const ended = ['ERR_STREAM_PREMATURE_CLOSE', 'ECONNRESET', 'ABORT_ERR'];
  if (typeof code === 'string' && ended.includes(code)) return new AppError('upload_incomplete', 'The upload ended early.', { cause });
  return cause;
}
