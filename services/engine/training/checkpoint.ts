/** A file that holds where a training run stands: always a whole checkpoint, the last one or the one before, never half of one. */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Checkpoint, CheckpointUnreadable, checkpointChunks, decodeCheckpoint } from './checkpoint-format.js';

export interface CheckpointStore {
  /** The arrays must not move until this resolves. */
  write(checkpoint: Checkpoint): Promise<void>;
  /** undefined when there is none that can be used: the run starts anew, and comes to the same end. */
  read(): Promise<Checkpoint | undefined>;
  /** After the run: nothing is left. */
  remove(): Promise<void>;
}

export interface CheckpointFile {
  /** In an existing folder; `<path>.draft` is written beside it. */
  readonly path: string;
  /** Told why a file that is there was not read. */
  readonly onUnreadable?: (reason: string) => void;
}

/** One writer at a time. */
export function checkpointFile({ path, onUnreadable }: CheckpointFile): CheckpointStore {
  const draft = `${path}.draft`;
  return {
    async write(checkpoint) {
      await writeDurably(draft, checkpointChunks(checkpoint));
      await rename(draft, path);
      await syncFolder(dirname(path));
    },
    async read() {
      try {
        const bytes = await readWhole(path);
        return bytes && decodeCheckpoint(bytes);
      } catch (error) {
        if (!(error instanceof CheckpointUnreadable)) throw error;
        onUnreadable?.(error.message);
        return undefined;
      }
    },
    async remove() {
      await rm(draft, { force: true });
      await rm(path, { force: true });
    },
  };
}

async function writeDurably(path: string, chunks: Iterable<Uint8Array>): Promise<void> {
  const file = await open(path, 'w');
  try {
    for (const chunk of chunks) await file.writeFile(chunk);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Makes the new name last, too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/** In one buffer of its own, so that arrays can be views of it; undefined when there is no such file. */
async function readWhole(path: string): Promise<Uint8Array | undefined> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (!file) return undefined;
  try {
    return await readAll(file, (await file.stat()).size);
  } finally {
    await file.close();
  }
}

const PIECE_BYTES = 64 * 2 ** 20;

async function readAll(file: FileHandle, size: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let filled = 0;
  while (filled < size) {
    const { bytesRead } = await file.read(bytes, filled, Math.min(PIECE_BYTES, size - filled), filled);
    if (bytesRead === 0) throw new CheckpointUnreadable('it became shorter while it was read');
    filled += bytesRead;
  }
  return bytes;
}
