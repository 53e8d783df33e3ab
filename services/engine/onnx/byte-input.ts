/** Where the decoder reads from: bytes in memory, or a file through a small window so that weights are never loaded. */
import { BinaryReader } from '@bufbuild/protobuf/wire';
import { EngineError } from '../engine-errors.js';
import { type ByteSource, bytesInMemory } from '../ir/index.js';
import { type FileIdentity, FileRange, readFully } from './file-range.js';

/** Random access to the bytes of one encoded model. */
export interface ByteInput {
  readonly byteLength: number;
  /** Position in the input of the first byte of the reader that `readerAt` gave last. */
  readonly base: number;
  readonly budget: DecodeBudget;
  /** A reader standing at `position`, with at least the next `headerBytes` bytes (or all that are left) ahead of it. */
  readerAt(position: number): BinaryReader;
  bytes(position: number, length: number): Uint8Array;
  source(position: number, length: number): ByteSource;
}

/** A tag and a length or a varint take at most 5 + 10 bytes. */
const headerBytes = 16;
const windowBytes = 1 << 16;
/** Smaller tensors are read at once: opening the file costs more than holding them. */
const inlineBytes = 4096;

/**
 * Bounds what structure may cost: a file of 5-byte nodes would otherwise become objects of two hundred times its size.
 * A unit is about 100 bytes of memory; the largest structures that pass take 0.4 to 0.7 GB. A graph of 100,000 nodes
 * with attributes and value types has about 4 million units.
 */
export class DecodeBudget {
  private units = 6_000_000;
  private elements = 16_000_000;
  private unknownBytes = 1 << 26;

  charge(units: number): void {
    this.units -= units;
    if (this.units < 0) throw tooLarge('too many nodes, values or attributes');
  }

  chargeElements(count: number): void {
    this.elements -= count;
    if (this.elements < 0) throw tooLarge('attribute lists of more than 16 million numbers');
  }

  /** Fields that are carried through unread are held in memory. */
  chargeUnknown(byteLength: number): void {
    this.charge(2);
    this.unknownBytes -= byteLength;
    if (this.unknownBytes < 0) throw tooLarge('more than 64 MiB of training information or of fields that are not known');
  }
}

function tooLarge(what: string): EngineError {
  return new EngineError('model_unsupported', `The model's structure is too large: ${what}, weights not counted.`);
}

export class MemoryInput implements ByteInput {
  readonly base = 0;
  readonly budget = new DecodeBudget();
  private readonly reader: BinaryReader;

  constructor(private readonly data: Uint8Array) {
    this.reader = new BinaryReader(data);
  }

  get byteLength(): number {
    return this.data.byteLength;
  }

  readerAt(position: number): BinaryReader {
    this.reader.pos = position;
    return this.reader;
  }

  bytes(position: number, length: number): Uint8Array {
    return this.data.subarray(position, position + length);
  }

  source(position: number, length: number): ByteSource {
    return bytesInMemory(this.bytes(position, length));
  }
}

export class FileInput implements ByteInput {
  base = 0;
  readonly budget = new DecodeBudget();
  private window = new Uint8Array(0);
  private reader = new BinaryReader(this.window);

  constructor(
    private readonly descriptor: number,
    private readonly file: FileIdentity,
  ) {}

  get byteLength(): number {
    return this.file.sizeBytes;
  }

  readerAt(position: number): BinaryReader {
    const needed = Math.min(headerBytes, this.byteLength - position);
    if (position < this.base || position + needed > this.base + this.window.length) {
      this.window = this.load(position, Math.min(windowBytes, this.byteLength - position));
      this.base = position;
      this.reader = new BinaryReader(this.window);
    }
    this.reader.pos = position - this.base;
    return this.reader;
  }

  bytes(position: number, length: number): Uint8Array {
    const start = position - this.base;
    // Copied: a view would keep the whole window alive for as long as a 5-byte name.
    if (start >= 0 && start + length <= this.window.length) return this.window.slice(start, start + length);
    return this.load(position, length);
  }

  source(position: number, length: number): ByteSource {
    if (length <= inlineBytes) return bytesInMemory(this.bytes(position, length));
    return new FileRange(this.file, position, length);
  }

  private load(position: number, length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    readFully(this.descriptor, bytes, position);
    return bytes;
  }
}
