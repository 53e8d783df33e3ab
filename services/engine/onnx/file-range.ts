/** Weights that stay on disk: a range of a file as a ByteSource, refused when the file is no longer the one that was read. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { EngineError } from '../engine-errors.js';
import type { ByteSource } from '../ir/index.js';

/** What a file was when the model was decoded; offsets mean nothing in another file. */
export interface FileIdentity {
  readonly path: string;
  readonly sizeBytes: number;
  readonly device: number;
  readonly inode: number;
  readonly modifiedMs: number;
}

export function identify(path: string, descriptor: number): FileIdentity {
  const { size, dev, ino, mtimeMs } = fstatSync(descriptor);
  return { path, sizeBytes: size, device: dev, inode: ino, modifiedMs: mtimeMs };
}

function isSameFile(a: FileIdentity, b: FileIdentity): boolean {
  return a.sizeBytes === b.sizeBytes && a.device === b.device && a.inode === b.inode && a.modifiedMs === b.modifiedMs;
}

/** Fills `target` from `position`; throws EngineError model_invalid when the file ends early. */
export function readFully(descriptor: number, target: Uint8Array, position: number): void {
  for (let at = 0; at < target.length; ) {
    const count = readSync(descriptor, target, at, Math.min(target.length - at, 1 << 30), position + at);
    if (count === 0) throw new EngineError('model_invalid', 'The model file ended while it was being read.');
    at += count;
  }
}

/** `byteLength` bytes of a file from `offset` on. The file is opened for each reading: a Model holds no descriptor. */
export class FileRange implements ByteSource {
  constructor(
    private readonly file: FileIdentity,
    private readonly offset: number,
    readonly byteLength: number,
  ) {}

  read(): Uint8Array {
    const descriptor = this.open();
    try {
      const bytes = new Uint8Array(this.byteLength);
      readFully(descriptor, bytes, this.offset);
      return bytes;
    } finally {
      closeSync(descriptor);
    }
  }

  *chunks(sizeBytes = 1 << 20): Generator<Uint8Array> {
    const descriptor = this.open();
    try {
      for (let at = 0; at < this.byteLength; at += sizeBytes) {
        const bytes = new Uint8Array(Math.min(sizeBytes, this.byteLength - at));
        readFully(descriptor, bytes, this.offset + at);
        yield bytes;
      }
    } finally {
      closeSync(descriptor);
    }
  }

  private open(): number {
    let descriptor: number;
    try {
      descriptor = openSync(this.file.path, 'r');
    } catch (cause) {
      throw new EngineError('external_data_invalid', 'A file that holds weights of the model can no longer be opened.', {}, { cause });
    }
    if (isSameFile(identify(this.file.path, descriptor), this.file)) return descriptor;
    closeSync(descriptor);
    throw new EngineError('external_data_invalid', 'A file that holds weights of the model was changed after the model was read.');
  }
}
