/** Which weights become zero: those with the lowest scores that the pattern allows, in exact numbers. */
import { columnPieces, type Interval, type Pattern, type PatternMatrix, rowPieces } from './pattern.js';
import { type QuotaPart, quotas } from './quotas.js';
import { SmallestScores } from './smallest-scores.js';

export interface ZeroRule {
  readonly pattern: Pattern;
  /** Fraction of the weights or blocks that become zero; with N:M, of the weights beyond the N of a group. */
  readonly fraction: number;
  /** Scores compete over the whole matrix, or within each output. Groups of N:M compete within themselves. */
  readonly compare: 'matrix' | 'output';
}

/** 1 for each weight that becomes zero, [rows, depth]. Scores are not negative, and 0 where a weight is zero already: those come first. */
export function chooseZeros(scores: Float32Array, matrix: PatternMatrix, { pattern, fraction, compare }: ZeroRule): Uint8Array {
  const grid = gridOf(pattern, matrix);
  if (pattern.kind === 'n:m') return smallestOfGroups(scores, grid, { kept: pattern.kept, fraction });
  const cells = pattern.kind === 'block' ? cellScores(scores, grid) : scores;
  const width = compare === 'matrix' ? cells.length : cells.length / grid.down.length;
  const counts = quotas(partsOf(cells, width), fraction);
  const zeros = new Uint8Array(cells.length);
  for (const [at, count] of counts.entries()) {
    const [start, end] = [at * width, (at + 1) * width];
    zeros.set(smallestOf(cells.subarray(start, end), count), start);
  }
  return pattern.kind === 'block' ? spread(zeros, grid, scores.length) : zeros;
}

function partsOf(cells: Float32Array, width: number): QuotaPart[] {
  return Array.from({ length: cells.length / width }, (_, part) => ({
    units: width,
    zeros: zerosIn(cells.subarray(part * width, (part + 1) * width)),
  }));
}

function zerosIn(scores: Float32Array): number {
  let zeros = 0;
  for (const score of scores) if (score === 0) zeros += 1;
  return zeros;
}

function smallestOf(scores: Float32Array, count: number): Uint8Array {
  const chosen = new SmallestScores([scores], count);
  return Uint8Array.from(scores, (score) => (chosen.takes(score) ? 1 : 0));
}

/** The scores of some columns of a matrix, in which no piece of the pattern is cut. Not for N:M. */
export interface ScoredColumns {
  readonly columns: Interval;
  readonly matrix: PatternMatrix;
  readonly pattern: Exclude<Pattern, { kind: 'n:m' }>;
  /** [rows, columns] */
  readonly scores: Float32Array;
}

/** Weights or blocks in the columns, and how many of them are zero. */
export function unitsOf(scored: ScoredColumns): QuotaPart {
  const cells = cellsOf(scored);
  return { units: cells.length, zeros: zerosIn(cells) };
}

/** 1 for each weight of the columns that becomes zero, [rows, columns]: those of `count` weights or blocks. */
export function chooseInColumns(scored: ScoredColumns, count: number): Uint8Array {
  const zeros = smallestOf(cellsOf(scored), count);
  return scored.pattern.kind === 'block' ? spread(zeros, gridWithin(scored), scored.scores.length) : zeros;
}

function cellsOf(scored: ScoredColumns): Float32Array {
  return scored.pattern.kind === 'block' ? cellScores(scored.scores, gridWithin(scored)) : scored.scores;
}

function gridWithin({ columns: { start, end }, matrix, pattern }: ScoredColumns): Grid {
  const grid = gridOf(pattern, matrix);
  const across = grid.across.filter((piece) => piece.start >= start && piece.end <= end);
  return { ...grid, across: across.map((piece) => ({ start: piece.start - start, end: piece.end - start })), width: end - start };
}

/** Scores of what may become zero by itself: of weights as they are, of blocks the root of their mean square. Not for N:M. */
export function unitScores(scores: Float32Array, matrix: PatternMatrix, pattern: Pattern): Float32Array {
  return pattern.kind === 'block' ? cellScores(scores, gridOf(pattern, matrix)) : scores;
}

interface Grid {
  readonly across: readonly Interval[];
  readonly down: readonly Interval[];
  /** Scores of a row. */
  readonly width: number;
}

function gridOf(pattern: Pattern, matrix: PatternMatrix): Grid {
  const across = pattern.kind === 'unstructured' ? [] : columnPieces(pattern, matrix);
  return { across, down: rowPieces(pattern, matrix), width: matrix.depth };
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
