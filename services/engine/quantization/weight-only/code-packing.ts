/** Codes of 2, 4 or 8 bits in bytes, the first of them in the lowest bits: the layout of MatMulNBits and GatherBlockQuantized. */
import type { BlockBits, BlockedWeights } from './blocked-weights.js';

/** Each row of `length` codes in ceil(length * bits / 8) bytes of its own; what is left of the last byte is `filling`. */
export function packRows(
  codes: Uint8Array,
  { length, bits, filling = 0 }: { length: number; bits: BlockBits; filling?: number },
): Uint8Array {
  if (bits === 8) return codes;
  const perByte = 8 / bits;
  const rowBytes = Math.ceil(length / perByte);
  const rows = length === 0 ? 0 : codes.length / length;
  const bytes = new Uint8Array(rows * rowBytes);
  for (let row = 0; row < rows; row += 1) {
    for (let at = 0; at < rowBytes * perByte; at += 1) {
      const code = at < length ? (codes[row * length + at] ?? 0) : filling;
      const byte = row * rowBytes + Math.floor(at / perByte);
      bytes[byte] = (bytes[byte] ?? 0) | (code << (bits * (at % perByte)));
    }
  }
  return bytes;
}

/** The codes as MatMulNBits reads them, [channels, blocks, blockSize * bits / 8]: a last short block is filled up with codes for 0. */
export function packedBlocks(weights: BlockedWeights): Uint8Array {
  const { channels, depth, blocks, blockSize, bits } = weights;
  if (blocks * blockSize === depth) return packRows(weights.codes, { length: depth, bits });
  const length = blocks * blockSize;
  const padded = new Uint8Array(channels * length);
  for (let channel = 0; channel < channels; channel += 1) {
    const filling = weights.zeroPoints[channel * blocks + blocks - 1] ?? 0;
    padded.fill(filling, channel * length + depth, (channel + 1) * length);
    padded.set(weights.codes.subarray(channel * depth, (channel + 1) * depth), channel * length);
  }
  return packRows(padded, { length, bits });
}

/** [channels, ceil(blocks * bits / 8)]. */
export function packedZeroPoints({ zeroPoints, blocks, bits }: BlockedWeights): Uint8Array {
  return packRows(zeroPoints, { length: blocks, bits });
}

/** Bytes of codes, scales and zero points in the file. */
export function packedByteLength({
  channels,
  depth,
  blocks,
  blockSize,
  bits,
  symmetric,
}: Omit<BlockedWeights, 'codes' | 'scales' | 'zeroPoints'>): number {
  const length = blocks * blockSize === depth ? depth : blocks * blockSize;
  const codes = channels * Math.ceil((length * bits) / 8);
  const zeroPoints = symmetric ? 0 : channels * Math.ceil((blocks * bits) / 8);
  return codes + 4 * channels * blocks + zeroPoints;
}
