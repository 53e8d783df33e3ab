/** SparseGPT (Frantar and Alistarh 2023, arXiv 2301.00774): zeros chosen by what they cost the outputs, the rest moved to make up for them. */
import { dampedInverseFactor, eliminateColumns } from '../normal-equations/column-elimination.js';
import { columnPieces, type Interval, type PatternMatrix, rowPieces } from './pattern.js';
import { presentScore } from './scores.js';
import { chooseZeros, markSmallest, type ZeroRule } from './zero-mask.js';

export interface SparseProblem {
  readonly matrix: PatternMatrix;
  /** [rows, depth]. Overwritten; weights that are 0 stay 0. */
  readonly weights: Float64Array;
  /** X^T X of the inputs, [depth, depth]; any positive factor is allowed. */
  readonly hessian: Float64Array;
  readonly rule: Pick<ZeroRule, 'pattern' | 'fraction'>;
  /** Weights or blocks of the layer that were decided before. Default 0. */
  readonly before?: number;
}

/** Columns whose zeros are chosen together, as in the paper. */
const BLOCK = 128;

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
    edges: choice.edges(),
    enter: (start, end) => choice.enter({ start, end }),
    settle: (value, row, j) => (choice.isZero(row, j) ? 0 : value),
  });
}

class ZeroChoice {
  private readonly zeros: Uint8Array;
  private readonly pieces: readonly Interval[];
  /** Groups of N:M by their first column. */
  private readonly groups: ReadonlyMap<number, Interval>;
  private decided: number;

  constructor(
    private readonly problem: SparseProblem,
    private readonly factor: Float64Array | null,
  ) {
    const { matrix, weights, rule, before = 0 } = problem;
    this.zeros = Uint8Array.from(weights, (weight) => (weight === 0 ? 1 : 0));
    this.pieces = rule.pattern.kind === 'unstructured' ? [] : columnPieces(rule.pattern, matrix);
    this.groups = new Map(rule.pattern.kind === 'n:m' ? this.pieces.map((piece) => [piece.start, piece]) : []);
    this.decided = before;
  }

  /** Where blocks of columns begin: every 128, moved to the beginning of a piece of the pattern. */
  edges(): number[] {
    const { depth } = this.problem.matrix;
    const edges: number[] = [];
    if (this.pieces.length === 0) for (let edge = BLOCK; edge < depth; edge += BLOCK) edges.push(edge);
    for (const { start } of this.pieces) if (start - (edges.at(-1) ?? 0) >= BLOCK) edges.push(start);
    return edges;
  }

  enter(columns: Interval): void {
    const { matrix, rule } = this.problem;
    if (rule.pattern.kind === 'n:m') return;
    const width = columns.end - columns.start;
    const scores = new Float32Array(matrix.rows * width);
    for (let at = 0; at < scores.length; at += 1) scores[at] = this.score(Math.floor(at / width), columns.start + (at % width));
    const chosen = chooseZeros({ matrix, columns, scores, before: this.decided }, { ...rule, compare: 'matrix' });
    this.decided += this.unitsWithin(columns);
    for (const [at, isZero] of chosen.entries()) {
      if (isZero === 1) this.zeros[Math.floor(at / width) * matrix.depth + columns.start + (at % width)] = 1;
    }
  }

  private unitsWithin({ start, end }: Interval): number {
    const { matrix, rule } = this.problem;
    if (rule.pattern.kind === 'unstructured') return matrix.rows * (end - start);
    return rowPieces(rule.pattern, matrix).length * this.pieces.filter((piece) => piece.start >= start && piece.end <= end).length;
  }

  isZero(row: number, j: number): boolean {
    const group = this.groups.get(j);
    if (group) this.chooseInGroup(row, group);
    return this.zeros[row * this.problem.matrix.depth + j] === 1;
  }

  private chooseInGroup(row: number, { start, end }: Interval): void {
    const { matrix, rule } = this.problem;
    if (rule.pattern.kind !== 'n:m') return;
    const scores = Float32Array.from({ length: end - start }, (_, at) => this.score(row, start + at));
    const zeros = this.zeros.subarray(row * matrix.depth + start, row * matrix.depth + end);
    markSmallest(zeros, scores, { start: 0, end: scores.length }, { kept: rule.pattern.kept, fraction: rule.fraction });
  }

  /** The root of the cost of a weight; 0 for one that is zero already, so that it counts first. */
  private score(row: number, j: number): number {
    const { matrix, weights } = this.problem;
    const at = row * matrix.depth + j;
    if (this.zeros[at] === 1) return 0;
    return presentScore(Math.abs(weights[at] ?? 0) / (this.factor?.[j * matrix.depth + j] ?? 1));
  }
}
