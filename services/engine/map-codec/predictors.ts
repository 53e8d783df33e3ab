/** What a value is expected to be, of its neighbours in the tile that come before it. */

export const PREDICTORS = ['zero', 'left', 'above', 'median'] as const;

/** Which neighbours there are is the same for coder and decoder: first the row above within the tile, then the value on the left. */
export interface Neighbourhood {
  readonly columns: number;
  /** Code of the value zero. */
  readonly zero: number;
}

/** Prediction of the value at `index` of a tile in raster order by predictor `which`; `tile` holds the values before it. */
export function predict(which: number, tile: Int32Array, index: number, { columns, zero }: Neighbourhood): number {
  if (which === 0) return zero;
  const hasLeft = index % columns > 0;
  const hasAbove = index >= columns;
  const left = hasLeft ? (tile[index - 1] ?? 0) : hasAbove ? (tile[index - columns] ?? 0) : zero;
  if (which === 1) return left;
  const above = hasAbove ? (tile[index - columns] ?? 0) : left;
  if (which === 2 || !hasLeft || !hasAbove) return above;
  return median(left, above, tile[index - columns - 1] ?? 0);
}

/** Median edge detection of JPEG-LS (Weinberger et al., IEEE TIP 9(8), 2000): the median of left, above and left + above - corner. */
function median(left: number, above: number, corner: number): number {
  const low = Math.min(left, above);
  const high = Math.max(left, above);
  if (corner >= high) return low;
  return corner <= low ? high : left + above - corner;
}

/**
 * The difference modulo 2^bits as a number from 0: 0, -1, 1, -2, ... count up, so that small differences are small numbers. Codes that
 * begin at their zero need no sign against it.
 */
export function fold(value: number, predicted: number, { bits, plain }: { readonly bits: number; readonly plain: boolean }): number {
  if (plain) return value - predicted;
  const size = 2 ** bits;
  const half = size / 2;
  let difference = value - predicted;
  if (difference >= half) difference -= size;
  else if (difference < -half) difference += size;
  return difference < 0 ? -2 * difference - 1 : 2 * difference;
}

/** The inverse of fold. */
export function unfold(folded: number, predicted: number, { bits, plain }: { readonly bits: number; readonly plain: boolean }): number {
  if (plain) return folded + predicted;
  const difference = folded & 1 ? -(folded + 1) / 2 : folded / 2;
  return (predicted + difference) & (2 ** bits - 1);
}
