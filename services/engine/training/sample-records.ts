/** Records of one size, appended once and read at any place: in memory while they are few bytes, in a file when they are many. */
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { join } from 'node:path';

/** Must be closed. */
export interface SampleRecords {
  /** `records`: any number of whole ones. */
  append(records: Uint8Array): Promise<void>;
  /** Into `target`, one after another. Throws RangeError for an index that was not appended. */
  read(indices: ArrayLike<number>, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

export interface RecordsRequest {
  readonly recordBytes: number;
  readonly count: number;
  /** Above it, records go to a file. */
  readonly memoryBytes: number;
  /** Existing folder for that file. */
  readonly scratch: string;
}

export function openRecords(request: RecordsRequest): Promise<SampleRecords> {
  const { recordBytes, count, memoryBytes } = request;
  return recordBytes * count <= memoryBytes ? Promise.resolve(recordsInMemory(request)) : recordsInFile(request);
}

function recordsInMemory({ recordBytes, count }: RecordsRequest): SampleRecords {
  const bytes = new Uint8Array(recordBytes * count);
  let filled = 0;
  return {
    async append(records) {
      bytes.set(records, filled);
      filled += records.byteLength;
    },
    async read(indices, target) {
      for (let at = 0; at < indices.length; at++) {
        const start = placeOf(indices[at], recordBytes, filled);
        target.set(bytes.subarray(start, start + recordBytes), at * recordBytes);
      }
    },
    close: () => Promise.resolve(),
  };
}

async function recordsInFile({ recordBytes, scratch }: RecordsRequest): Promise<SampleRecords> {
  const path = join(scratch, `samples-${randomUUID()}.bin`);
  const file = await open(path, 'wx+');
  let filled = 0;
  return {
    async append(records) {
      await file.writeFile(records);
      filled += records.byteLength;
    },
    async read(indices, target) {
      const reads = Array.from(indices, (index, at) => {
        const start = placeOf(index, recordBytes, filled);
        return readAt(file, target.subarray(at * recordBytes, (at + 1) * recordBytes), start);
      });
      await Promise.all(reads);
    },
    async close() {
      await file.close();
      await rm(path, { force: true });
    },
  };
}

function placeOf(index: number | undefined, recordBytes: number, filled: number): number {
  const start = (index ?? -1) * recordBytes;
  if (!Number.isInteger(index) || start < 0 || start + recordBytes > filled)
    throw new RangeError(`read: there is no record ${index} of ${filled / recordBytes}`);
  return start;
}

async function readAt(file: FileHandle, target: Uint8Array, start: number): Promise<void> {
  let filled = 0;
  while (filled < target.byteLength) {
    const { bytesRead } = await file.read(target, filled, target.byteLength - filled, start + filled);
    if (bytesRead === 0) throw new RangeError('read: the file of the records became shorter');
    filled += bytesRead;
  }
}
