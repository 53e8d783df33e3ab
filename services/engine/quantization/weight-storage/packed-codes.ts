/** Codes of 2, 3 or 4 bits packed into bytes, and the two small matrices with which any operator set unpacks them in float32. */

/** Bits that fit a whole number of times into a word of at most 24 bits, what float32 holds exactly. */
export type PackedBits = 2 | 3 | 4;

/** Bytes and codes of a word: the least bytes that a whole number of codes fills. */
export function wordOf(bits: PackedBits): { readonly bytes: number; readonly codes: number } {
  return bits === 3 ? { bytes: 3, codes: 8 } : { bytes: 1, codes: 8 / bits };
}

/** Bytes of `count` codes. */
export function packedBytes(bits: PackedBits, count: number): number {
  const word = wordOf(bits);
  return Math.ceil(count / word.codes) * word.bytes;
}

/** Words of sum_i (c_i + 2^(b-1)) 2^(b i), little-endian; the last word is filled with zeros. */
export function packCodes(codes: ArrayLike<number>, bits: PackedBits): Uint8Array {
  const word = wordOf(bits);
  const packed = new Uint8Array(packedBytes(bits, codes.length));
  for (let at = 0, start = 0; at < codes.length; at += word.codes, start += word.bytes) {
    let value = 0;
    for (let i = 0; i < word.codes && at + i < codes.length; i += 1) value |= ((codes[at + i] ?? 0) + 2 ** (bits - 1)) << (bits * i);
    for (let byte = 0; byte < word.bytes; byte += 1) packed[start + byte] = value >>> (8 * byte);
  }
  return packed;
}

/**
 * With the bytes of a word x as a row vector, floor(bytes . shifts) is the vector of all floor(x / 2^(b i)); a code is one of
 * these less 2^b times the next, and less the offset:
 *   c_i = f_i - 2^b f_{i+1} - 2^(b-1),  that is  f . fields + offset.
 * Every product and sum is a whole multiple of a power of two with at most 24 significant bits, so float32 is exact.
 */
export function unpackingMatrices(bits: PackedBits): {
  /** [bytes, codes] */
  readonly shifts: Float32Array;
  /** [codes, codes] */
  readonly fields: Float32Array;
  readonly offset: number;
} {
  const { bytes, codes } = wordOf(bits);
  const shifts = Float32Array.from({ length: bytes * codes }, (_, at) => 256 ** Math.floor(at / codes) * 2 ** (-bits * (at % codes)));
  const fields = new Float32Array(codes * codes);
  for (let i = 0; i < codes; i += 1) {
    fields[i * codes + i] = 1;
    if (i + 1 < codes) fields[(i + 1) * codes + i] = -(2 ** bits);
  }
  return { shifts, fields, offset: -(2 ** (bits - 1)) };
}
