/** What an archive may be: names, number and size of its files, and how far it may inflate. Real bytes are counted, not declared ones. */
import { Transform } from 'node:stream';
import { AppError } from '#contracts';

export const archiveEntriesMax = 256;
const inflationMax = 100;
const inflationFreeBytes = 1024 * 1024;
const pathBytesMax = 255;

export function archiveInvalid(message: string): AppError {
  return new AppError('archive_invalid', message);
}

/** The path of an entry as it is kept: relative, '/' between parts. Folders are null. @throws AppError(archive_invalid) */
export function entryPath(name: string): string | null {
  const path = name.replace(/^(\.\/)+/, '');
  const shown = JSON.stringify(name.slice(0, 80));
  if (path === '' || path === '.' || path.endsWith('/')) return null;
  if (path.includes('\0') || path.includes('\\')) throw archiveInvalid(`The archive has a name with a forbidden character: ${shown}.`);
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path)) throw archiveInvalid(`The archive has an absolute name: ${shown}.`);
  if (path.split('/').some((part) => part === '..' || part === '.' || part === '')) {
    throw archiveInvalid(`The archive has a name that leaves its folder: ${shown}.`);
  }
  if (Buffer.byteLength(path) > pathBytesMax) throw archiveInvalid(`The archive has a name of more than ${pathBytesMax} bytes.`);
  if (path.normalize('NFC') !== path) throw archiveInvalid(`The archive has a name that is not in Unicode normal form C: ${shown}.`);
  return path;
}

/** Refuses the second of two names that some file systems take for one. */
export class EntryNames {
  private readonly seen = new Set<string>();

  add(path: string): void {
    const folded = path.toLowerCase();
    if (this.seen.has(folded)) throw archiveInvalid(`The archive names ${JSON.stringify(path.slice(0, 80))} twice.`);
    if (this.seen.size === archiveEntriesMax) throw archiveInvalid(`The archive has more than ${archiveEntriesMax} files.`);
    this.seen.add(folded);
  }
}

/** Bytes that all files of one archive may still have together. */
export class SizeBudget {
  private used = 0;

  constructor(private readonly maxBytes: number) {}

  take(bytes: number): void {
    this.used += bytes;
    if (this.used > this.maxBytes) throw new AppError('payload_too_large', `Unpacked, at most ${this.maxBytes} bytes are accepted.`);
  }
}

export interface MeterOptions {
  readonly budget: SizeBudget;
  /** Bytes that went into the inflater so far. */
  compressedBytes(): number;
}

/** Passes bytes on and counts them; fails beyond the budget, or when they are more than 100 times what went in. */
export function inflationMeter({ budget, compressedBytes }: MeterOptions): Transform {
  let inflated = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      inflated += chunk.length;
      try {
        budget.take(chunk.length);
        if (inflated > compressedBytes() * inflationMax + inflationFreeBytes) {
          throw archiveInvalid(`The archive inflates to more than ${inflationMax} times its size.`);
        }
        done(null, chunk);
      } catch (error) {
        done(error as Error);
      }
    },
  });
}
