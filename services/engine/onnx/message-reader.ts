/** Reads the fields of one protobuf message, checked: every length against its message, every wire type, nesting depth. */
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { EngineError } from '../engine-errors.js';
import type { ByteSource } from '../ir/index.js';
import type { ByteInput } from './byte-input.js';

/** protobuf's own limit on nested messages; ONNX spends 3 levels on each subgraph. */
const depthMax = 100;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bytes are not well-formed protobuf of the expected schema; made into an EngineError where the place is known. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

export interface MessageRange {
  readonly start: number;
  readonly end: number;
}

export class MessageReader {
  /** Number of the present field. */
  field = 0;
  private wireType = WireType.Varint;
  private fieldStart: number;
  private valueStart: number;
  private valueEnd: number;

  constructor(
    private readonly input: ByteInput,
    readonly range: MessageRange,
    /** Name of the message in onnx.proto, for error texts. */
    private readonly messageName: string,
    private readonly depth = 0,
  ) {
    if (depth > depthMax) throw new MalformedMessage(`messages are nested deeper than ${depthMax} levels`);
    this.fieldStart = range.start;
    this.valueStart = range.start;
    this.valueEnd = range.start;
  }

  get byteLength(): number {
    return this.range.end - this.range.start;
  }

  /** Goes to the next field; false at the end of the message. */
  next(): boolean {
    const at = this.valueEnd;
    if (at === this.range.end) return false;
    this.input.budget.charge(1);
    this.fieldStart = at;
    this.parse(() => {
      const reader = this.input.readerAt(at);
      const [field, wireType] = reader.tag();
      this.field = field;
      this.wireType = wireType;
      this.valueStart = this.input.base + reader.pos;
      this.valueEnd = this.endOfValue(reader, wireType);
    });
    if (this.valueEnd > this.range.end) throw this.malformed('runs past the end of its message');
    return true;
  }

  int64(): bigint {
    this.expect(WireType.Varint);
    return this.parse(() => BigInt(this.input.readerAt(this.valueStart).int64()));
  }

  int32(): number {
    this.expect(WireType.Varint);
    return this.parse(() => this.input.readerAt(this.valueStart).int32());
  }

  /** An int64 that must be exact as a JavaScript number. */
  size(): number {
    const value = this.int64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))
      throw this.malformed(`is out of range: ${value}`);
    return Number(value);
  }

  float(): number {
    this.expect(WireType.Bit32);
    const bytes = this.valueBytes();
    return new DataView(bytes.buffer, bytes.byteOffset, 4).getFloat32(0, true);
  }

  /** The value of a length-delimited field; a view where the input is in memory. */
  bytes(): Uint8Array {
    this.expect(WireType.LengthDelimited);
    return this.valueBytes();
  }

  string(): string {
    const bytes = this.bytes();
    try {
      return utf8.decode(bytes);
    } catch {
      throw this.malformed('is not UTF-8 text');
    }
  }

  /** The bytes of a length-delimited field, left where they are. */
  source(): ByteSource {
    this.expect(WireType.LengthDelimited);
    return this.input.source(this.valueStart, this.valueEnd - this.valueStart);
  }

  message(messageName: string): MessageReader {
    this.expect(WireType.LengthDelimited);
    return new MessageReader(this.input, { start: this.valueStart, end: this.valueEnd }, messageName, this.depth + 1);
  }

  /** Elements of a repeated int64 field, packed or not. */
  appendInt64(into: bigint[]): void {
    if (this.wireType === WireType.Varint) {
      into.push(this.int64());
      return;
    }
    const reader = new BinaryReader(this.bytes());
    this.parse(() => {
      while (reader.pos < reader.len) {
        this.input.budget.chargeElements(1);
        into.push(BigInt(reader.int64()));
      }
    });
  }

  /** Elements of a repeated float field, packed or not. */
  appendFloats(into: number[]): void {
    if (this.wireType === WireType.Bit32) {
      into.push(this.float());
      return;
    }
    const bytes = this.bytes();
    if (bytes.length % 4 !== 0) throw this.malformed('is not a list of 4-byte numbers');
    this.input.budget.chargeElements(bytes.length / 4);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 4) into.push(view.getFloat32(at, true));
  }

  /** The encoded elements of a repeated number field, packed or one by one: concatenated they are the packed form. */
  packedElements(unpacked: WireType): ByteSource {
    if (this.wireType !== unpacked) this.expect(WireType.LengthDelimited);
    return this.input.source(this.valueStart, this.valueEnd - this.valueStart);
  }

  /** The whole field with its tag, for carrying it through unread. */
  encodedField(): Uint8Array {
    this.input.budget.chargeUnknown(this.valueEnd - this.fieldStart);
    return this.input.bytes(this.fieldStart, this.valueEnd - this.fieldStart);
  }

  /** The whole message, for carrying it through unread. */
  encodedMessage(): Uint8Array {
    return this.input.bytes(this.range.start, this.byteLength);
  }

  /** Pays for an object made of this message beyond its fields; see DecodeBudget. */
  charge(units: number): void {
    this.input.budget.charge(units);
  }

  malformed(what: string): MalformedMessage {
    return new MalformedMessage(`field ${this.field} of ${this.messageName} ${what}`);
  }

  private valueBytes(): Uint8Array {
    return this.input.bytes(this.valueStart, this.valueEnd - this.valueStart);
  }

  private endOfValue(reader: BinaryReader, wireType: WireType): number {
    switch (wireType) {
      case WireType.Varint:
        reader.skip(WireType.Varint);
        return this.input.base + reader.pos;
      case WireType.Bit64:
        return this.valueStart + 8;
      case WireType.Bit32:
        return this.valueStart + 4;
      case WireType.LengthDelimited: {
        const length = reader.uint32();
        this.valueStart = this.input.base + reader.pos;
        return this.valueStart + length;
      }
      default:
        throw this.malformed('is a protobuf group, which ONNX does not use');
    }
  }

  private expect(wireType: WireType): void {
    if (this.wireType !== wireType) throw this.malformed(`has wire type ${this.wireType}, expected ${wireType}`);
  }

  /** protobuf's reader throws bare errors on bad varints and at the end of its bytes. */
  private parse<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      if (error instanceof MalformedMessage || error instanceof EngineError) throw error;
      throw new MalformedMessage(`${this.messageName} is cut off or damaged`, { cause: error });
    }
  }
}

/** Fields the decoder does not know, collected for the encoder to write back. */
export class UnknownFields {
  private readonly fields: Uint8Array[] = [];

  keep(reader: MessageReader): void {
    this.fields.push(reader.encodedField().slice());
  }

  /** Shaped for spreading: absent when there are none. */
  get member(): { unknownFields?: Uint8Array } {
    return this.fields.length === 0 ? {} : { unknownFields: new Uint8Array(Buffer.concat(this.fields)) };
  }
}

/** A message of `key` and `value`, the only two fields such entries have. */
export function readEntry(reader: MessageReader): [key: string, value: string] {
  let key = '';
  let value = '';
  while (reader.next()) {
    if (reader.field === 1) key = reader.string();
    else if (reader.field === 2) value = reader.string();
    else throw reader.malformed('is unknown');
  }
  return [key, value];
}
