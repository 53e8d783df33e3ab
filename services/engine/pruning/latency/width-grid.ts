/** Times at some widths, and by interpolation at those between. */
import type { LayerWidths } from './layer-form.js';

/** Microseconds by width in and out; `at` says where they lie. */
export interface WidthGrid {
  readonly ins: readonly number[];
  readonly outs: readonly number[];
  /** The time at ins[i], outs[o]; undefined where nothing was measured. */
  time(widths: LayerWidths): number | undefined;
}

/** Bilinear between the four surrounding points; beyond the ends, that of the end. Undefined when a point is missing. */
export function interpolated({ ins, outs, time }: WidthGrid, widths: LayerWidths): number | undefined {
  const [i, o] = [bracket(ins, widths.in), bracket(outs, widths.out)];
  let sum = 0;
  for (const [inner, a] of i) {
    for (const [outer, b] of o) {
      if (a * b === 0) continue;
      const measured = time({ in: inner, out: outer });
      if (measured === undefined) return undefined;
      sum += a * b * measured;
    }
  }
  return sum;
}

/** The points on both sides of `value`, with their weights. */
function bracket(points: readonly number[], value: number): readonly (readonly [number, number])[] {
  const above = points.findIndex((point) => point >= value);
  const high = points[above < 0 ? points.length - 1 : above] ?? value;
  const low = above > 0 ? (points[above - 1] ?? high) : high;
  if (high <= low) return [[high, 1]];
  const share = (Math.min(value, high) - low) / (high - low);
  return [
    [low, 1 - share],
    [high, share],
  ];
}
