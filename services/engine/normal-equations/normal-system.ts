/** The normal equations of one group of outputs, to be solved with any ridge: by the products of its inputs, or of its rows where they are fewer. */
import type { FitSums } from './fit-sums.js';
import { choleskyUpper, solveWithFactor } from './linear-algebra.js';

/** C [K, O] -> (X^T X / n + r I)^-1 C, with X centred where there is a bias. */
export type Solver = (right: Float64Array) => Float64Array;

export interface NormalSystem {
  /** r is the share `ridge` of the mean of the diagonal; null when the matrix holds values that are not finite. */
  solver(ridge: number): Solver | null;
}

const RIDGE_GROWTH = 10;
const ATTEMPTS = 8;

export function normalSystem(sums: FitSums, group: number, hasBias: boolean): NormalSystem {
  return sums.blocks ? rowSystem(sums, group, hasBias) : productSystem(sums, group, hasBias);
}

function productSystem(sums: FitSums, group: number, hasBias: boolean): NormalSystem {
  const { depth, rows, gram, inputs } = sums;
  const matrix = new Float64Array(depth * depth);
  for (let i = 0; i < depth; i += 1) {
    const mean = hasBias ? (inputs[group * depth + i] ?? 0) / rows : 0;
    const line = (group * depth + i) * depth;
    for (let j = 0; j < depth; j += 1) matrix[i * depth + j] = ((gram[line + j] ?? 0) - mean * (inputs[group * depth + j] ?? 0)) / rows;
  }
  const diagonal = trace(matrix, depth) / depth;
  return {
    solver(ridge) {
      const found = regularFactor(matrix, depth, diagonal > 0 ? ridge * diagonal : 1);
      return found && ((right) => solveWithFactor(found.factor, right, depth));
    },
  };
}

/**
 * Woodbury, with n rows fewer than K:
 *   (X^T X / n + r I)^-1 C = (C - X^T (X X^T / n + r I)^-1 X C / n) / r.
 */
function rowSystem(sums: FitSums, group: number, hasBias: boolean): NormalSystem {
  const { depth, rows: count } = sums;
  const rows = centredRows(sums, group, hasBias);
  const kernel = new Float64Array(count * count);
  for (let i = 0; i < count; i += 1) {
    for (let j = 0; j <= i; j += 1) kernel[i * count + j] = kernel[j * count + i] = dot(rows, i * depth, j * depth, depth) / count;
  }
  const diagonal = trace(kernel, count) / depth;
  return {
    solver(ridge) {
      const found = regularFactor(kernel, count, diagonal > 0 ? ridge * diagonal : 1);
      if (!found) return null;
      return (right) => {
        const columns = right.length / depth;
        const products = new Float64Array(count * columns);
        for (let i = 0; i < count; i += 1) {
          for (let k = 0; k < depth; k += 1) {
            addLine(products, i * columns, { from: right, at: k * columns, columns, factor: (rows[i * depth + k] ?? 0) / count });
          }
        }
        solveWithFactor(found.factor, products, count);
        for (let i = 0; i < count; i += 1) {
          for (let k = 0; k < depth; k += 1) {
            addLine(right, k * columns, { from: products, at: i * columns, columns, factor: -(rows[i * depth + k] ?? 0) });
          }
        }
        return right.map((value) => value / found.added);
      };
    },
  };
}

/** [n, K]. */
function centredRows({ blocks = [], depth, rows, inputs }: FitSums, group: number, hasBias: boolean): Float64Array {
  const centred = new Float64Array(rows * depth);
  let first = 0;
  for (const { values, count } of blocks) {
    for (let k = 0; k < depth; k += 1) {
      const mean = hasBias ? (inputs[group * depth + k] ?? 0) / rows : 0;
      const line = (group * depth + k) * count;
      for (let row = 0; row < count; row += 1) centred[(first + row) * depth + k] = (values[line + row] ?? 0) - mean;
    }
    first += count;
  }
  return centred;
}

/** Of M + r I; r grows while the matrix is not positive definite, which rounding alone can do. */
function regularFactor(matrix: Float64Array, size: number, ridge: number): { factor: Float64Array; added: number } | null {
  if (!Number.isFinite(ridge)) return null;
  const regular = Float64Array.from(matrix);
  for (let attempt = 0, added = ridge; attempt < ATTEMPTS; attempt += 1, added *= RIDGE_GROWTH) {
    for (let i = 0; i < size; i += 1) regular[i * size + i] = (matrix[i * size + i] ?? 0) + added;
    const factor = choleskyUpper(regular, size);
    if (factor) return { factor, added };
  }
  return null;
}

function trace(matrix: Float64Array, size: number): number {
  let sum = 0;
  for (let i = 0; i < size; i += 1) sum += matrix[i * size + i] ?? 0;
  return sum;
}

/** Four sums, so that an addition need not wait for the one before. */
function dot(values: Float64Array, left: number, right: number, count: number): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let k = 0;
  for (; k + 3 < count; k += 4) {
    s0 += (values[left + k] ?? 0) * (values[right + k] ?? 0);
    s1 += (values[left + k + 1] ?? 0) * (values[right + k + 1] ?? 0);
    s2 += (values[left + k + 2] ?? 0) * (values[right + k + 2] ?? 0);
    s3 += (values[left + k + 3] ?? 0) * (values[right + k + 3] ?? 0);
  }
  for (; k < count; k += 1) s0 += (values[left + k] ?? 0) * (values[right + k] ?? 0);
  return s0 + s1 + (s2 + s3);
}

/** to[start + j] += factor from[at + j] for 0 <= j < columns. */
function addLine(
  to: Float64Array,
  start: number,
  { from, at, columns, factor }: { from: Float64Array; at: number; columns: number; factor: number },
): void {
  if (factor === 0) return;
  for (let j = 0; j < columns; j += 1) to[start + j] = (to[start + j] ?? 0) + factor * (from[at + j] ?? 0);
}
