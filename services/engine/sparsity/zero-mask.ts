/** Which weights become zero: those with the lowest scores that the pattern allows, in exact numbers. */
import { columnPieces, type Interval, type Pattern, type PatternMatrix, rowPieces } from './pattern.js';
import { SmallestScores } from './smallest-scores.js';

export interface ZeroRule {
  readonly pattern: Pattern;
  /** Fraction of the weights or blocks that become zero; with N:M, of the weights beyond the N of a group. */
  readonly fraction: number;
  /** Scores compete over the whole matrix, or within each output. Groups of N:M compete within themselves. */
  readonly compare: 'matrix' | 'output';
}

export interface ScoredColumns {
  readonly matrix: PatternMatrix;
  /** Columns that are scored; pieces of the pattern lie inside or outside as a whole. Default all. */
  readonly columns?: Interval;
  /** [rows, columns]; not negative. */
  readonly scores: Float32Array;
  /** Weights or blocks of the layer that were decided before: what is rounded away here is made up for there. Default 0. */
  readonly before?: number;
}

/** 1 for each weight that becomes zero, [rows, columns]. */
export function chooseZeros(scored: ScoredColumns, rule: ZeroRule): Uint8Array {
  const { matrix, scores, columns = { start: 0, end: matrix.depth }, before = 0 } = scored;
  const { pattern } = rule;
  if (pattern.kind === 'unstructured') return smallest(scores, { width: columns.end - columns.start, before, rule });
  const across = columnPieces(pattern, matrix)
    .filter(({ start, end }) => start >= columns.start && end <= columns.end)
    .map(({ start, end }) => ({ start: start - columns.start, end: end - columns.start }));
  const grid = { across, down: rowPieces(pattern, matrix), width: columns.end - columns.start };
  if (pattern.kind === 'n:m') return smallestOfGroups(scores, grid, { kept: pattern.kept, fraction: rule.fraction });
  return spread(smallest(cellScores(scores, grid), { width: across.length, before, rule }), grid, scores.length);
}

/** Scores of what may become zero by itself: of weights as they are, of blocks the root of their mean square. Not for N:M. */
export function unitScores(scores: Float32Array, matrix: PatternMatrix, pattern: Pattern): Float32Array {
  if (pattern.kind !== 'block') return scores;
  return cellScores(scores, { across: columnPieces(pattern, matrix), down: rowPieces(pattern, matrix), width: matrix.depth });
}

/** Of `units` that follow on `before` others: rounded so that the sum over all is the rounded sum. */
function quota(fraction: number, before: number, units: number): number {
  return Math.round(fraction * (before + units)) - Math.round(fraction * before);
}

function smallest(scores: Float32Array, { width, before, rule }: { width: number; before: number; rule: ZeroRule }): Uint8Array {
  const zeros = new Uint8Array(scores.length);
  const length = rule.compare === 'matrix' ? scores.length : width;
  for (let start = 0; start < scores.length; start += length) {
    const part = scores.subarray(start, start + length);
    const chosen = new SmallestScores([part], quota(rule.fraction, before + start, length));
    for (const [at, score] of part.entries()) if (chosen.takes(score)) zeros[start + at] = 1;
  }
  return zeros;
}

interface Grid {
  readonly across: readonly Interval[];
  readonly down: readonly Interval[];
  /** Scores of a row. */
  readonly width: number;
}

function smallestOfGroups(scores: Float32Array, { across, width }: Grid, rule: { kept: number; fraction: number }): Uint8Array {
  const zeros = new Uint8Array(scores.length);
  for (let row = 0; row < scores.length; row += width) {
    for (const { start, end } of across) markSmallest(zeros, scores, { start: row + start, end: row + end }, rule);
  }
  return zeros;
}

/** Marks the weights of one group of N:M that become zero, those included that are marked: the lowest scores, the first of equal ones. */
export function markSmallest(
  zeros: Uint8Array,
  scores: Float32Array,
  { start, end }: Interval,
  { kept, fraction }: { kept: number; fraction: number },
): void {
  let open = Math.round(fraction * Math.max(0, end - start - kept));
  for (let at = start; at < end; at += 1) open -= zeros[at] ?? 0;
  for (; open > 0; open -= 1) {
    let least = -1;
    for (let at = start; at < end; at += 1) {
      if (zeros[at] === 0 && (least < 0 || (scores[at] ?? 0) < (scores[least] ?? 0))) least = at;
    }
    zeros[least] = 1;
  }
}

/** The root of the mean square of the scores in each block: comparable between whole blocks and those cut off at an end. */
function cellScores(scores: Float32Array, { across, down, width }: Grid): Float32Array {
  const cells = new Float32Array(down.length * across.length);
  for (const [i, rows] of down.entries()) {
    for (const [j, columns] of across.entries()) {
      let squares = 0;
      for (let row = rows.start; row < rows.end; row += 1)
        for (let at = row * width + columns.start; at < row * width + columns.end; at += 1) squares += (scores[at] ?? 0) ** 2;
      cells[i * across.length + j] = Math.sqrt(squares / ((rows.end - rows.start) * (columns.end - columns.start)));
    }
  }
  return cells;
}

function spread(cells: Uint8Array, { across, down, width }: Grid, length: number): Uint8Array {
  const zeros = new Uint8Array(length);
  for (const [i, rows] of down.entries()) {
    for (const [j, columns] of across.entries()) {
      if (cells[i * across.length + j] !== 1) continue;
      for (let row = rows.start; row < rows.end; row += 1) zeros.fill(1, row * width + columns.start, row * width + columns.end);
    }
  }
  return zeros;
}
