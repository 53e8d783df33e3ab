/** Where zeros may lie: anywhere, N of each M inputs staying, or whole blocks; and what a matrix is divided into for that. */
import { EngineError } from '../engine-errors.js';
import type { PatternOption } from './options.js';

export type Pattern =
  | { readonly kind: 'unstructured' }
  /** At most `kept` of each `group` consecutive inputs of an output are not zero. */
  | { readonly kind: 'n:m'; readonly kept: number; readonly group: number }
  /** Blocks of so many outputs by so many consecutive inputs become zero as a whole. */
  | { readonly kind: 'block'; readonly rows: number; readonly columns: number };

/** Throws EngineError `recipe_invalid` for what is no pattern. */
export function parsePattern(option: PatternOption = 'unstructured'): Pattern {
  if (option === 'unstructured') return { kind: 'unstructured' };
  if (typeof option === 'string') {
    const [, kept = 0, group = 0] = (/^(\d+):(\d+)$/.exec(option) ?? []).map(Number);
    if (kept >= 1 && kept < group) return { kind: 'n:m', kept, group };
    throw new EngineError(
      'recipe_invalid',
      `"${option}" is no pattern of zeros: use "unstructured", N:M with 1 <= N < M such as "2:4", or a block such as [4, 1].`,
    );
  }
  const [rows, columns] = option;
  if (Number.isInteger(rows) && Number.isInteger(columns) && rows >= 1 && columns >= 1) return { kind: 'block', rows, columns };
  throw new EngineError('recipe_invalid', `A block of zeros needs two whole numbers of at least 1, [outputs, inputs]; got [${option}].`);
}

export function patternWords(pattern: Pattern): string {
  switch (pattern.kind) {
    case 'unstructured':
      return 'unstructured';
    case 'n:m':
      return `${pattern.kept}:${pattern.group}`;
    case 'block':
      return `${pattern.rows}x${pattern.columns} blocks`;
    default:
      return pattern satisfies never;
  }
}

/** A weight as patterns see it: one row per output, in each row its inputs, once for each position of a kernel. */
export interface PatternMatrix {
  /** Outputs. */
  readonly rows: number;
  /** Weights of one output: `taps` times `inputs`. */
  readonly depth: number;
  /** Consecutive inputs; no group or block reaches over their end. */
  readonly inputs: number;
  /** Outputs that belong together, as those of a group or a gate: no block reaches over their end. */
  readonly rowRun: number;
}

/** From `start` up to, but not including, `end`. */
export interface Interval {
  readonly start: number;
  readonly end: number;
}

/** Divides `length` into pieces of `size`, beginning anew after every `run`; what is left of a run is a smaller piece. */
export function piecesOf(length: number, run: number, size: number): Interval[] {
  const pieces: Interval[] = [];
  for (let from = 0; from < length; from += run) {
    const to = Math.min(length, from + run);
    for (let start = from; start < to; start += size) pieces.push({ start, end: Math.min(to, start + size) });
  }
  return pieces;
}

/** How the inputs of a row are divided: groups of M, the width of blocks, single weights. */
export function columnPieces(pattern: Pattern, { depth, inputs }: PatternMatrix): Interval[] {
  const size = pattern.kind === 'n:m' ? pattern.group : pattern.kind === 'block' ? pattern.columns : 1;
  return piecesOf(depth, inputs, size);
}

/** How the outputs are divided: the height of blocks, single rows. */
export function rowPieces(pattern: Pattern, { rows, rowRun }: PatternMatrix): Interval[] {
  return piecesOf(rows, rowRun, pattern.kind === 'block' ? pattern.rows : 1);
}

/** What may become zero by itself: weights, or blocks. For N:M the weights beyond the kept ones of each group. */
export function unitCount(pattern: Pattern, matrix: PatternMatrix): number {
  if (pattern.kind === 'unstructured') return matrix.rows * matrix.depth;
  if (pattern.kind === 'block') return rowPieces(pattern, matrix).length * columnPieces(pattern, matrix).length;
  const beyond = columnPieces(pattern, matrix).reduce((sum, { start, end }) => sum + Math.max(0, end - start - pattern.kept), 0);
  return matrix.rows * beyond;
}
