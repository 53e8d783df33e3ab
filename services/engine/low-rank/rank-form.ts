/** What each way of factorising a layer offers: the ranks to choose from, and the factors of a choice. */

import type { Factor, FactorShape } from './factors.js';
import type { FormName } from './options.js';

/** One number for a matrix, one per side for Tucker. */
export type Ranks = readonly number[];

export interface RankForm {
  readonly name: FormName;
  /** Ranks with which every weight is represented exactly; of CP no useful bound is known: those of its widest side. */
  readonly full: Ranks;
  /** Choices with fewer weights than the layer, the smallest first. */
  readonly ladder: readonly Ranks[];
  shapes(ranks: Ranks): readonly FactorShape[];
  /** The last factor makes the outputs of the layer. */
  factors(ranks: Ranks): readonly Factor[];
  /** Energy lost under the metric that the form was made for; absent where only the built factors tell. */
  lost?(ranks: Ranks): number;
  /** Ranks that are signal and not noise (evbmf.ts), not rounded; absent where the theory has nothing to say. */
  signal?(): Ranks;
}

/** A layer as a form sees it. */
export interface FormLayer {
  /** [channels, inputs * positions of the kernel] */
  readonly rows: Float64Array;
  readonly channels: number;
  readonly inputs: number;
  readonly kernel: readonly number[];
}

/** Choices of a form that must be built one by one to be judged. */
const STEPS_MAX = 8;

/** Multiples of `step` up to `limit`, at most `most` of them and evenly spread; none when `limit` is below `step`. */
export function multiplesUpTo(limit: number, step: number, most = STEPS_MAX): number[] {
  const count = Math.floor(limit / step);
  const every = Math.max(1, Math.ceil(count / most));
  return Array.from({ length: count }, (_, at) => (at + 1) * step).filter((_, at) => (count - 1 - at) % every === 0);
}

/** `rank` rounded up to a multiple of `step`, at most `full`. */
export function roundedRank(rank: number, step: number, full: number): number {
  return Math.min(full, Math.max(1, Math.ceil(rank / step)) * step);
}

export function filled(kernel: readonly number[], size: number): number[] {
  return kernel.map(() => size);
}
