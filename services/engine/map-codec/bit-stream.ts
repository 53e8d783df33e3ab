/** Bits in order, high bits of a byte first. */

export class BitWriter {
  private bytes: Uint8Array;
  private used = 0;
  private pending = 0;
  private pendingBits = 0;

  constructor(sizeHint = 1024) {
    this.bytes = new Uint8Array(Math.max(16, sizeHint));
  }

  /** Whole bytes so far. */
  get byteLength(): number {
    return this.used;
  }

  /** The low `count` bits of `value`; count 0 to 16. */
  write(value: number, count: number): void {
    this.pending = (this.pending << count) | (value & ((1 << count) - 1));
    this.pendingBits += count;
    while (this.pendingBits >= 8) {
      this.pendingBits -= 8;
      this.push((this.pending >>> this.pendingBits) & 255);
    }
    this.pending &= (1 << this.pendingBits) - 1;
  }

  /** `count` zeros and a one. */
  writeUnary(count: number): void {
    let rest = count;
    for (; rest >= 16; rest -= 16) this.write(0, 16);
    this.write(1, rest + 1);
  }

  /** Fills the present byte with zeros. */
  align(): void {
    if (this.pendingBits > 0) this.write(0, 8 - this.pendingBits);
  }

  /** A view; call align() before. */
  get result(): Uint8Array {
    return this.bytes.subarray(0, this.used);
  }

  private push(byte: number): void {
    if (this.used === this.bytes.length) {
      const grown = new Uint8Array(2 * this.bytes.length);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes[this.used++] = byte;
  }
}

/** Reads `bytes` from `start`. Throws RangeError behind `end`. */
export class BitReader {
  private at: number;

  constructor(
    private readonly bytes: Uint8Array,
    start: number,
    private readonly end: number,
  ) {
    this.at = 8 * start;
  }

  /** The next `count` bits, 0 to 16. */
  read(count: number): number {
    let value = 0;
    for (let rest = count; rest > 0; ) {
      const offset = this.at & 7;
      const take = Math.min(rest, 8 - offset);
      value = (value << take) | ((this.byte() >>> (8 - offset - take)) & ((1 << take) - 1));
      this.at += take;
      rest -= take;
    }
    return value;
  }

  /** Zeros before the next one, which is consumed. */
  readUnary(): number {
    for (let count = 0; ; ) {
      const offset = this.at & 7;
      const rest = (this.byte() << (24 + offset)) >>> 0;
      const zeros = Math.min(Math.clz32(rest), 8 - offset);
      count += zeros;
      this.at += zeros;
      if (zeros < 8 - offset) {
        this.at += 1;
        return count;
      }
    }
  }

  private byte(): number {
    const index = this.at >>> 3;
    if (index >= this.end) throw new RangeError('map codec: the coded map is cut off');
    return this.bytes[index] ?? 0;
  }
}
