/** Blobs as files below one folder: complete under their final name, or absent. */
import { constants } from 'node:fs';
import { access, copyFile, type FileHandle, mkdir, open, opendir, rename, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { AppError } from '#contracts';
import { blobKey, parseBlobKey } from './blob-key.js';
import type { BlobName, BlobStore, ByteRange, PutOptions, StoredBlob } from './blob-store.js';
import { type StagedFile, StagingArea } from './staging-area.js';

export class FilesystemBlobStore implements BlobStore {
  private readonly staging: StagingArea;

  constructor(
    private readonly root: string,
    minFreeBytes: number,
  ) {
    this.staging = new StagingArea(path.join(root, 'staging'), minFreeBytes);
  }

  put(tenantId: string, source: Readable, options: PutOptions): Promise<StoredBlob> {
    return this.staging.receive(source, options, (file) => this.keep(tenantId, file));
  }

  putFile(tenantId: string, file: string): Promise<StoredBlob> {
    return this.staging.receiveFile(file, (staged) => this.keep(tenantId, staged));
  }

  async open(tenantId: string, sha256: string, range?: ByteRange): Promise<Readable> {
    const handle = await open(this.locate(tenantId, sha256), 'r').catch(refuseMissing);
    return handle.createReadStream(range ? { start: range.start, end: range.end } : {});
  }

  async stat(tenantId: string, sha256: string): Promise<{ bytes: number } | undefined> {
    try {
      return { bytes: (await stat(this.locate(tenantId, sha256))).size };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async delete(tenantId: string, sha256: string): Promise<void> {
    await rm(this.locate(tenantId, sha256), { force: true });
  }

  async *list(olderThanMs: number): AsyncGenerator<BlobName> {
    for await (const file of filesBelow(path.join(this.root, 'blobs'))) {
      const name = parseBlobKey(path.relative(this.root, file).split(path.sep).join('/'));
      if (name === undefined) continue;
      const facts = await stat(file).catch(() => undefined);
      if (facts && Date.now() - facts.mtimeMs >= olderThanMs) yield name;
    }
  }

  async presignedUrl(): Promise<null> {
    return null;
  }

  async materialise(tenantId: string, sha256: string, destination: string): Promise<void> {
    // A clone where the file system can, else a copy: what a job does to its file never reaches the blob.
    const mode = constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE;
    await copyFile(this.locate(tenantId, sha256), destination, mode).catch(refuseMissing);
  }

  sweepStaging(olderThanMs: number): Promise<number> {
    return this.staging.sweep(olderThanMs);
  }

  async ping(): Promise<void> {
    await this.staging.prepare();
    await access(this.root, constants.R_OK | constants.W_OK);
  }

  private locate(tenantId: string, sha256: string): string {
    return path.join(this.root, blobKey(tenantId, sha256));
  }

  /** Also when the blob exists: the new file then replaces the same bytes, and heals them if they were damaged. */
  private async keep(tenantId: string, file: StagedFile): Promise<void> {
    const target = this.locate(tenantId, file.sha256);
    const folder = path.dirname(target);
    const created = await mkdir(folder, { recursive: true, mode: 0o700 });
    await rename(file.path, target);
    await flushFolder(folder);
    if (created === undefined) return;
    for (let parent = path.dirname(folder); parent.length >= path.dirname(created).length; parent = path.dirname(parent))
      await flushFolder(parent);
  }
}

/** Folder by folder; one that vanishes meanwhile has no files. */
async function* filesBelow(folder: string): AsyncGenerator<string> {
  const entries = await opendir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for await (const entry of entries) {
    const entryPath = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(entryPath);
    else if (entry.isFile()) yield entryPath;
  }
}

/** A rename is on disk only when its folder is; Windows cannot flush folders and does not need it. */
async function flushFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

function refuseMissing(cause: unknown): Promise<FileHandle> {
  throw isMissing(cause) ? new AppError('not_found', 'The bytes are not in the store.', { cause }) : cause;
}
