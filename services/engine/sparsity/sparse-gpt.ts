/** SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): zeros chosen by what they cost the outputs, the rest moved to make up for them. */
import { dampedInverseFactor, eliminateColumns } from '../normal-equations/column-elimination.js';
import { columnPieces, type Interval, type Pattern, type PatternMatrix } from './pattern.js';
import { type QuotaPart, quotas } from './quotas.js';
import { presentScore } from './scores.js';
import { chooseInColumns, markSmallest, unitsOf, type ZeroRule } from './zero-mask.js';

export interface SparseProblem {
  readonly matrix: PatternMatrix;
  /** [rows, depth]. Overwritten; weights that are 0 stay 0. */
  readonly weights: Float64Array;
  /** X^T X of the inputs, [depth, depth]; any positive factor is allowed. */
  readonly hessian: Float64Array;
  readonly rule: Pick<ZeroRule, 'pattern' | 'fraction'>;
  /** Weights or blocks that become zero in each of the `columnBlocks`. Default: the fraction of each. */
  readonly counts?: readonly number[];
}

/** Columns whose zeros are chosen together, as in the paper. */
const BLOCK = 128;

/** Blocks of 128 columns, or as many more as the last piece of the pattern needs. */
export function columnBlocks(pattern: Pattern, matrix: PatternMatrix): Interval[] {
  const starts =
    pattern.kind === 'unstructured' ? [...Array(matrix.depth).keys()] : columnPieces(pattern, matrix).map(({ start }) => start);
  const blocks: Interval[] = [];
  let from = 0;
  for (const start of [...starts, matrix.depth]) {
    if (start - from < BLOCK && start !== matrix.depth) continue;
    blocks.push({ start: from, end: start });
    from = start;
  }
  return blocks;
}

/** Weights or blocks of the pattern in each of the `columnBlocks`, and how many of them are zero. */
export function unitsInBlocks(weights: Float64Array, matrix: PatternMatrix, pattern: Pattern): QuotaPart[] {
  if (pattern.kind === 'n:m') return [];
  return columnBlocks(pattern, matrix).map((columns) =>
    unitsOf({ columns, matrix, pattern, scores: scoresIn(columns, matrix, (at) => (weights[at] === 0 ? 0 : 1)) }),
  );
}

function scoresIn({ start, end }: Interval, { rows, depth }: PatternMatrix, score: (at: number, j: number) => number): Float32Array {
  const width = end - start;
  const scores = new Float32Array(rows * width);
  for (let at = 0; at < scores.length; at += 1) {
    const j = start + (at % width);
    scores[at] = score(Math.floor(at / width) * depth + j, j);
  }
  return scores;
}

/**
 * With U of H^-1 = U^T U, a weight that becomes zero when it is the next to settle costs the outputs w_j^2 / U_jj^2. For each block
 * of columns, with all errors before it made good, the zeros are the weights with the least cost; with N:M each group chooses when
 * its first column is reached. Then, column by column, the zeros are set and their errors passed on (column-elimination.ts).
 */
export function sparseGpt(problem: SparseProblem): void {
  const { matrix, weights, hessian } = problem;
  const order = Uint32Array.from({ length: matrix.depth }, (_, k) => k);
  const factor = dampedInverseFactor({ hessian, depth: matrix.depth, order });
  const choice = new ZeroChoice(problem, factor);
  eliminateColumns({
    rows: matrix.rows,
    depth: matrix.depth,
    work: weights,
    factor,
    edges: choice.blocks.map(({ end }) => end),
    enter: (start, end) => choice.enter({ start, end }),
    settle: (value, row, j) => (choice.isZero(row, j) ? 0 : value),
  });
}

class ZeroChoice {
  private readonly zeros: Uint8Array;
  readonly blocks: readonly Interval[];
  private readonly counts: readonly number[];
  /** Groups of N:M by their first column. */
  private readonly groups: ReadonlyMap<number, Interval>;

  constructor(
    private readonly problem: SparseProblem,
    private readonly factor: Float64Array | null,
  ) {
    const { matrix, weights, rule } = problem;
    this.zeros = Uint8Array.from(weights, (weight) => (weight === 0 ? 1 : 0));
    this.blocks = columnBlocks(rule.pattern, matrix);
    this.counts = problem.counts ?? quotas(unitsInBlocks(weights, matrix, rule.pattern), rule.fraction);
    this.groups = new Map(rule.pattern.kind === 'n:m' ? columnPieces(rule.pattern, matrix).map((piece) => [piece.start, piece]) : []);
  }

  enter(columns: Interval): void {
    const { matrix, rule } = this.problem;
    if (rule.pattern.kind === 'n:m') return;
    const width = columns.end - columns.start;
    const scores = scoresIn(columns, matrix, (at, j) => this.score(at, j));
    const count = this.counts[this.blocks.findIndex(({ start }) => start === columns.start)] ?? 0;
    const chosen = chooseInColumns({ columns, matrix, pattern: rule.pattern, scores }, count);
    for (const [at, isZero] of chosen.entries()) {
      if (isZero === 1) this.zeros[Math.floor(at / width) * matrix.depth + columns.start + (at % width)] = 1;
    }
  }

  isZero(row: number, j: number): boolean {
    const group = this.groups.get(j);
    if (group) this.chooseInGroup(row, group);
    return this.zeros[row * this.problem.matrix.depth + j] === 1;
  }

  private chooseInGroup(row: number, { start, end }: Interval): void {
    const { matrix, rule } = this.problem;
    if (rule.pattern.kind !== 'n:m') return;
    const base = row * matrix.depth;
    const scores = Float32Array.from({ length: end - start }, (_, at) => this.score(base + start + at, start + at));
    const zeros = this.zeros.subarray(base + start, base + end);
    markSmallest(zeros, scores, { start: 0, end: scores.length }, { kept: rule.pattern.kept, fraction: rule.fraction });
  }

  /** The root of the cost of a weight; 0 for one that is zero already, so that it counts first. */
  private score(at: number, j: number): number {
    if (this.zeros[at] === 1) return 0;
    return presentScore(Math.abs(this.problem.weights[at] ?? 0) / (this.factor?.[j * this.problem.matrix.depth + j] ?? 1));
  }
}
