/** Builds one protobuf message as pieces, so that lengths are known before weights are read and weights are never copied. */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { EngineError } from '../engine-errors.js';
import type { ByteSource } from '../ir/index.js';

/** Larger children are linked, smaller ones copied: copying a few bytes costs less than another piece. */
const copiedBytesMax = 4096;
/** protobuf's own limit on one message. */
export const messageBytesMax = 2 ** 31 - 1;

export class MessageWriter {
  private readonly pieces: (Uint8Array | ByteSource)[] = [];
  private piecesBytes = 0;
  private tail = new BinaryWriter();
  private tailBytes: Uint8Array | null = null;

  /** A string field; left out when it is empty or absent, as proto3 does. */
  text(field: number, value: string | undefined): this {
    if (value) this.writer().tag(field, WireType.LengthDelimited).string(value);
    return this;
  }

  /** A string field that stands even when it is empty: the inputs of a node are counted. */
  textAlways(field: number, value: string): this {
    this.writer().tag(field, WireType.LengthDelimited).string(value);
    return this;
  }

  int(field: number, value: number | bigint): this {
    this.writer().tag(field, WireType.Varint).int64(value);
    return this;
  }

  float(field: number, value: number): this {
    this.writer().tag(field, WireType.Bit32).float(value);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.writer().tag(field, WireType.LengthDelimited).bytes(value);
    return this;
  }

  packedInts(field: number, values: readonly (number | bigint)[]): this {
    if (values.length === 0) return this;
    const writer = this.writer().tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.int64(value);
    writer.join();
    return this;
  }

  packedFloats(field: number, values: readonly number[]): this {
    if (values.length === 0) return this;
    const writer = this.writer().tag(field, WireType.LengthDelimited).fork();
    for (const value of values) writer.float(value);
    writer.join();
    return this;
  }

  /** A bytes field whose content is read only when the message is written out. */
  source(field: number, source: ByteSource): this {
    if (source.byteLength <= copiedBytesMax) return this.bytes(field, source.read());
    this.header(field, source.byteLength);
    this.link(source, source.byteLength);
    return this;
  }

  message(field: number, child: MessageWriter): this {
    this.header(field, child.byteLength);
    if (child.byteLength <= copiedBytesMax)
      for (const piece of child.parts()) this.writer().raw(piece instanceof Uint8Array ? piece : piece.read());
    else for (const piece of child.parts()) this.link(piece, piece.byteLength);
    return this;
  }

  /** Fields that were carried through unread, tags included. */
  raw(fields: Uint8Array | undefined): this {
    if (fields) this.writer().raw(fields);
    return this;
  }

  get byteLength(): number {
    return this.piecesBytes + this.finished().length;
  }

  /** The message in order. */
  parts(): readonly (Uint8Array | ByteSource)[] {
    return [...this.pieces, this.finished()];
  }

  private header(field: number, length: number): void {
    if (length > messageBytesMax) {
      throw new EngineError(
        'model_unsupported',
        `The model takes more than ${messageBytesMax} bytes in one file, which protobuf does not allow.`,
      );
    }
    this.writer().tag(field, WireType.LengthDelimited).uint32(length);
  }

  private link(piece: Uint8Array | ByteSource, byteLength: number): void {
    const before = this.finished();
    if (before.length > 0) this.pieces.push(before);
    this.pieces.push(piece);
    this.piecesBytes += before.length + byteLength;
    this.tail = new BinaryWriter();
    this.tailBytes = null;
  }

  private writer(): BinaryWriter {
    if (this.tailBytes) {
      this.tail = new BinaryWriter().raw(this.tailBytes);
      this.tailBytes = null;
    }
    return this.tail;
  }

  /** BinaryWriter.finish() resets the writer, so its bytes are kept until more is written. */
  private finished(): Uint8Array {
    this.tailBytes ??= this.tail.finish();
    return this.tailBytes;
  }
}

export function entryMessage(key: string, value: string): MessageWriter {
  return new MessageWriter().text(1, key).text(2, value);
}

export function writeEntries(message: MessageWriter, field: number, entries: ReadonlyMap<string, string> | undefined): void {
  for (const [key, value] of entries ?? []) message.message(field, entryMessage(key, value));
}
