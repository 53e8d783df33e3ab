/** The bytes of a checkpoint: a header that names the arrays, their float32 elements, a checksum over everything. */
import { createHash } from 'node:crypto';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** Comes back bit for bit: elements of arrays with their NaNs, integers up to 2^53, facts as JSON holds them. */
export interface Checkpoint {
  readonly arrays: ReadonlyMap<string, Float32Array>;
  readonly integers: ReadonlyMap<string, number>;
  readonly facts: JsonValue;
}

/** The bytes are no checkpoint of this version: cut off, changed, or of another one. */
export class CheckpointUnreadable extends Error {
  override readonly name = 'CheckpointUnreadable';
}

const MAGIC = 'LATHECKP';
const VERSION = 1;
/** Magic, version, length of the header. */
const PREFIX_BYTES = 16;
const CHECKSUM = 'sha256';
const CHECKSUM_BYTES = 32;

interface Header {
  readonly arrays: readonly (readonly [name: string, length: number])[];
  readonly integers: readonly (readonly [name: string, value: number])[];
  readonly facts: JsonValue;
}

/**
 * magic | version u32 | header length u32 | header (JSON, padded with spaces to 4 bytes) | elements of the arrays | SHA-256 of all
 * before. Little-endian, as the machines that this runs on are. Arrays are handed out as views, so the caller writes them before they move.
 * Throws RangeError for an integer that a number does not hold exactly.
 */
export function* checkpointChunks({ arrays, integers, facts }: Checkpoint): Generator<Uint8Array> {
  for (const [name, value] of integers)
    if (!Number.isSafeInteger(value)) throw new RangeError(`checkpointChunks: "${name}" is ${value}, not a whole number`);
  const header: Header = { arrays: [...arrays].map(([name, { length }]) => [name, length]), integers: [...integers], facts };
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc(-text.length & 3, ' ')]);
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.write(MAGIC, 'latin1');
  prefix.writeUInt32LE(VERSION, 8);
  prefix.writeUInt32LE(padded.length, 12);
  const hash = createHash(CHECKSUM);
  const elements = [...arrays.values()].map((values) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  for (const chunk of [prefix, padded, ...elements]) {
    hash.update(chunk);
    yield chunk;
  }
  yield hash.digest();
}

/** The arrays are views of `bytes`, which must begin at a multiple of 4 of its buffer. Throws CheckpointUnreadable. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < PREFIX_BYTES + CHECKSUM_BYTES || view.toString('latin1', 0, MAGIC.length) !== MAGIC)
    throw new CheckpointUnreadable('it is not a checkpoint');
  const version = view.readUInt32LE(8);
  if (version !== VERSION) throw new CheckpointUnreadable(`it is of version ${version}, not ${VERSION}`);
  const content = view.subarray(0, -CHECKSUM_BYTES);
  if (!createHash(CHECKSUM).update(content).digest().equals(view.subarray(-CHECKSUM_BYTES)))
    throw new CheckpointUnreadable('it was cut off or changed: its checksum is another one');
  const elementsAt = PREFIX_BYTES + view.readUInt32LE(12);
  const header = JSON.parse(view.toString('utf8', PREFIX_BYTES, elementsAt)) as Header;
  return { arrays: arraysAt(bytes, elementsAt, header.arrays), integers: new Map(header.integers), facts: header.facts };
}

function arraysAt(bytes: Uint8Array, start: number, entries: Header['arrays']): Map<string, Float32Array> {
  const arrays = new Map<string, Float32Array>();
  let at = bytes.byteOffset + start;
  for (const [name, length] of entries) {
    arrays.set(name, new Float32Array(bytes.buffer, at, length));
    at += length * Float32Array.BYTES_PER_ELEMENT;
  }
  return arrays;
}
