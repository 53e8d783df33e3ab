/**
 * How a group of 16 values is written: one bit "as the group before", or a zero bit, the predictor (2 bits) and the width (4 bits).
 * Width k below 14 is a Golomb-Rice code (Rice 1979): the residual r as floor(r / 2^k) in unary and the k low bits. Width 14: every
 * value in all its bits. Width 15: all residuals are zero, nothing follows.
 */
import type { BitReader, BitWriter } from './bit-stream.js';

export const GROUP = 16;
export const RAW = 14;
export const ALL_ZERO = 15;
const PREDICTOR_BITS = 2;
const WIDTH_BITS = 4;
const HEADER_BITS = PREDICTOR_BITS + WIDTH_BITS;

export interface GroupForm {
  readonly predictor: number;
  readonly width: number;
}

/** Folded residuals of one group by predictor. */
export type Residuals = readonly ArrayLike<number>[];

/** Bits of the values of a group in a form, without its header; infinite when the form cannot hold them. */
export function groupBits(residuals: ArrayLike<number>, width: number, bits: number): number {
  const count = residuals.length;
  if (width === RAW) return count * bits;
  let sum = width === ALL_ZERO ? 0 : count * (width + 1);
  for (let index = 0; index < count; index++) {
    const residual = residuals[index] ?? 0;
    if (width !== ALL_ZERO) sum += residual >>> width;
    else if (residual !== 0) return Number.POSITIVE_INFINITY;
  }
  return sum;
}

/**
 * The form with the fewest bits of all predictors, each with the two widths about the mean residual m, floor(log2 m) and one more,
 * between which the best Rice parameter lies.
 */
export function cheapestForm(candidates: Residuals, bits: number): GroupForm & { readonly cost: number } {
  let best = { predictor: 0, width: RAW, cost: (candidates[0]?.length ?? 0) * bits };
  for (const [predictor, residuals] of candidates.entries()) {
    for (const width of likelyWidths(residuals)) {
      const cost = groupBits(residuals, width, bits);
      if (cost < best.cost) best = { predictor, width, cost };
    }
  }
  return best;
}

function likelyWidths(residuals: ArrayLike<number>): readonly number[] {
  let sum = 0;
  for (let index = 0; index < residuals.length; index++) sum += residuals[index] ?? 0;
  if (sum === 0) return [ALL_ZERO];
  const width = Math.max(0, Math.floor(Math.log2(sum / residuals.length)));
  return [Math.min(width, RAW - 1), Math.min(width + 1, RAW - 1)];
}

/** Writes the form that costs least, the one of the group before included, and returns it. */
export function writeGroup(out: BitWriter, candidates: Residuals, { bits, before }: { bits: number; before: GroupForm | null }): GroupForm {
  const best = cheapestForm(candidates, bits);
  const again = before ? groupBits(candidates[before.predictor] ?? [], before.width, bits) : Number.POSITIVE_INFINITY;
  const form = before && again <= best.cost + HEADER_BITS ? before : best;
  if (form === before) out.write(1, 1);
  else {
    out.write(0, 1);
    out.write(form.predictor, PREDICTOR_BITS);
    out.write(form.width, WIDTH_BITS);
  }
  const residuals = candidates[form.predictor] ?? [];
  for (let index = 0; index < residuals.length; index++) writeResidual(out, residuals[index] ?? 0, form.width, bits);
  return form;
}

function writeResidual(out: BitWriter, residual: number, width: number, bits: number): void {
  if (width === ALL_ZERO) return;
  if (width === RAW) out.write(residual, bits);
  else {
    out.writeUnary(residual >>> width);
    out.write(residual, width);
  }
}

/** Throws RangeError for a first group that refers to one before. */
export function readForm(from: BitReader, before: GroupForm | null): GroupForm {
  if (from.read(1) === 0) return { predictor: from.read(PREDICTOR_BITS), width: from.read(WIDTH_BITS) };
  if (!before) throw new RangeError('map codec: the first group of a tile has no form');
  return before;
}

export function readResidual(from: BitReader, width: number, bits: number): number {
  if (width === ALL_ZERO) return 0;
  if (width === RAW) return from.read(bits);
  return from.readUnary() * 2 ** width + from.read(width);
}
