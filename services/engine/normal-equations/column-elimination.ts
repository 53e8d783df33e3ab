/** Settles a weight matrix column by column, each error made good by the columns still free: what GPTQ and SparseGPT share. */
import { choleskyInverseUpper } from './linear-algebra.js';

export interface ColumnElimination {
  /** Outputs N. */
  readonly rows: number;
  /** Inputs K. */
  readonly depth: number;
  /** [N, K], row-major, columns in the order of `factor`. Overwritten: each weight with the value that it settled to. */
  readonly work: Float64Array;
  /** U of `dampedInverseFactor`; null passes no errors on. */
  readonly factor: Float64Array | null;
  /** Ascending positions at which blocks of columns begin, after 0; default every 128. */
  readonly edges?: readonly number[];
  /** Before the columns [start, end): `work` holds them with the errors of all columns before `start` passed on. */
  enter?(start: number, end: number): void;
  /** The value that column `j` of `row` settles to; `value` is what it has come to by then. */
  settle(value: number, row: number, j: number): number;
}

const DAMPING = 0.01;
const DAMPING_ATTEMPTS = 8;
/** Columns whose errors are collected before they are pushed into the columns behind them. */
const BLOCK = 128;

/**
 * Optimal brain surgeon with a fixed order (Frantar et al., arXiv 2210.17323 and 2301.00774). With H^-1 = U^T U, U upper
 * triangular, for each column j in turn:
 *   q_j = settle(w_j),  e = (w_j - q_j) / U_jj,  w_k -= e U_jk  for all k > j;
 * the sum of e^2 is the increase of the error of the products. Errors reach the columns of later blocks one block at a time.
 */
export function eliminateColumns(elimination: ColumnElimination): void {
  const { rows, depth, work, factor } = elimination;
  const errors = new Float64Array(depth);
  for (const { start, end } of blocksOf(elimination)) {
    elimination.enter?.(start, end);
    for (let row = 0; row < rows; row += 1) {
      const base = row * depth;
      for (let j = start; j < end; j += 1) {
        const current = work[base + j] ?? 0;
        const settled = elimination.settle(current, row, j);
        work[base + j] = settled;
        const error = factor ? (current - settled) / (factor[j * depth + j] ?? 1) : 0;
        errors[j] = error;
        if (factor && error !== 0) passOn(work, base, { error, factor, line: j * depth, from: j + 1, to: end });
      }
      if (!factor) continue;
      for (let j = start; j < end; j += 1) {
        const error = errors[j] ?? 0;
        if (error !== 0) passOn(work, base, { error, factor, line: j * depth, from: end, to: depth });
      }
    }
  }
}

function* blocksOf({ depth, edges }: ColumnElimination): Generator<{ start: number; end: number }> {
  if (!edges) {
    for (let start = 0; start < depth; start += BLOCK) yield { start, end: Math.min(depth, start + BLOCK) };
    return;
  }
  let start = 0;
  for (const end of [...edges, depth]) {
    if (end > start) yield { start, end };
    start = end;
  }
}

interface Passing {
  readonly error: number;
  readonly factor: Float64Array;
  readonly line: number;
  readonly from: number;
  readonly to: number;
}

/** w_k -= e U_jk over a range of columns. */
function passOn(work: Float64Array, base: number, { error, factor, line, from, to }: Passing): void {
  for (let k = from; k < to; k += 1) work[base + k] = (work[base + k] ?? 0) - error * (factor[line + k] ?? 0);
}

/** The columns of H [K, K] by falling diagonal: the inputs that matter most settle while the others can still correct them. */
export function byFallingDiagonal(hessian: Float64Array, depth: number): Uint32Array {
  const importance = (k: number): number => hessian[k * depth + k] ?? 0;
  return Uint32Array.from({ length: depth }, (_, k) => k).sort((a, b) => importance(b) - importance(a) || a - b);
}

export interface FactoredMatrix {
  /** H [K, K]; any positive factor is allowed. */
  readonly hessian: Float64Array;
  readonly depth: number;
  /** Column of H at each position of the factor. */
  readonly order: ArrayLike<number>;
  /** Share of the mean of the diagonal that is added to it. Default 0.01. */
  readonly damping?: number;
}

/**
 * U [K, K] with (H + d I)^-1 = U^T U in the order given; null when H says nothing (a value that is not finite). A column whose
 * input never was anything but 0 has no error to pass on. Damping grows tenfold while the matrix is not positive definite.
 */
export function dampedInverseFactor({ hessian, depth, order, damping = DAMPING }: FactoredMatrix): Float64Array | null {
  const matrix = new Float64Array(depth * depth);
  let trace = 0;
  for (let i = 0; i < depth; i += 1) {
    const line = (order[i] ?? 0) * depth;
    for (let j = 0; j < depth; j += 1) matrix[i * depth + j] = hessian[line + (order[j] ?? 0)] ?? 0;
    trace += matrix[i * depth + i] ?? 0;
  }
  let added = (damping * trace) / depth;
  for (let i = 0; i < depth; i += 1) if ((matrix[i * depth + i] ?? 0) + added === 0) matrix[i * depth + i] = 1;
  let present = 0;
  for (let attempt = 0; attempt < DAMPING_ATTEMPTS; attempt += 1, added *= 10) {
    for (let i = 0; i < depth; i += 1) matrix[i * depth + i] = (matrix[i * depth + i] ?? 0) + added - present;
    present = added;
    const factor = choleskyInverseUpper(matrix, depth);
    if (factor) return factor;
  }
  return null;
}
