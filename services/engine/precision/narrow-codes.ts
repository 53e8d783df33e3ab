/** Codes of 2 to 16 bits that live in the low end of a wider integer type. */
import { quantizeValue, roundHalfToEven } from '../quantization/quantization-parameters.js';

/** real = scale * (code - zeroPoint), code from 0 to levels - 1. */
export interface MapCodes {
  readonly levels: number;
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Scales that may be chosen. */
export type ScaleChoice = 'any' | 'powers-of-two';

/** The word of a network that nothing was done to: a tensor of this width is left as it is. */
export const WIDEST_BITS = 16;
export const NARROWEST_BITS = 2;

const FLOAT32_MIN_NORMAL = 2 ** -126;

/**
 * Codes of a map in `width` bits. Widths may be fractions where maps are coded without loss on their way: 5.5 bits are 45 of the 64 codes
 * of 6 bits. In 8 bits one code is not used: the bounds of the range then always clip something, so that no runtime takes them for
 * redundant and puts a kernel of 8-bit sums, which saturates on some processors, in place of layer and pair.
 */
export function levelsOf(width: number): number {
  return width === 8 ? 255 : Math.floor(2 ** width);
}

/** Bits that the codes need. */
export function bitsOf({ levels }: Pick<MapCodes, 'levels'>): number {
  return Math.ceil(Math.log2(levels));
}

/** Codes over [low, high], which holds 0: scale = (high - low) / (levels - 1), zero point = round(-low / scale). */
export function mapCodes({ low, high }: { readonly low: number; readonly high: number }, levels: number): MapCodes {
  const scale = Math.fround((high - low) / (levels - 1));
  if (!(scale >= FLOAT32_MIN_NORMAL) || !Number.isFinite(scale)) return { levels, scale: 1, zeroPoint: 0 };
  return { levels, scale, zeroPoint: Math.max(0, Math.min(levels - 1, roundHalfToEven(-low / scale))) };
}

/** The powers of two around a scale, the smaller one first. */
export function powersAround(scale: number): number[] {
  const below = 2 ** Math.floor(Math.log2(scale));
  return below === scale ? [scale] : [below, 2 * below];
}

/** Codes with this scale, the code of 0 where it divides them as it divides [low, high]. */
export function mapCodesOfScale({ low, high }: { readonly low: number; readonly high: number }, levels: number, scale: number): MapCodes {
  return { levels, scale, zeroPoint: Math.max(0, roundHalfToEven(((levels - 1) * -low) / (high - low))) };
}

/** The least and the largest value that has a code: what lies outside is clipped to them. */
export function coveredRange({ levels, scale, zeroPoint }: MapCodes): { readonly low: number; readonly high: number } {
  return { low: Math.fround(-zeroPoint * scale), high: Math.fround((levels - 1 - zeroPoint) * scale) };
}

/** Codes of weights go from minus to plus this, so that zero has a code and a sign costs nothing. */
export function weightLimit(bits: number): number {
  return 2 ** (bits - 1) - 1;
}

export function weightCode(value: number, scale: number, bits: number): number {
  const limit = weightLimit(bits);
  return quantizeValue(value, { scale, zeroPoint: 0 }, { min: -limit, max: limit });
}
