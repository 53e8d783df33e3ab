/** Rounding of a weight matrix for the least error of its products with real inputs: GPTQ (arXiv 2210.17323, methods.md 3.6). */
import { choleskyInverseUpper } from '../normal-equations/linear-algebra.js';

export interface GptqColumns {
  /** Outputs N. */
  readonly rows: number;
  /** Inputs K. */
  readonly depth: number;
  /** [N, K], row-major. */
  readonly weights: Float32Array | Float64Array;
  /** X^T X of the inputs X [samples, K], [K, K]; any positive factor is allowed. */
  readonly hessian: Float64Array;
  /** Share of the mean of the diagonal that is added to it. Default 0.01. */
  readonly damping?: number;
  /** Columns in order of decreasing diagonal: the inputs that matter most are rounded while the others can still correct them. */
  readonly actOrder?: boolean;
  /** Code and value to which `value` is rounded in row `row`, column `k` (of the given order). */
  quantize(value: number, row: number, k: number): { readonly code: number; readonly value: number };
}

const DAMPING = 0.01;
const DAMPING_ATTEMPTS = 8;
/** Columns whose errors are collected before they are pushed into the columns behind them. */
const BLOCK = 128;

/**
 * Codes [N, K]. With U the upper factor of the inverse, H^-1 = U^T U, for each column j in turn:
 *   q_j = Q(w_j),  e = (w_j - q_j) / U_jj,  w_k -= e U_jk  for all k > j.
 * A column whose input never was anything but 0 has no error to pass on: it is rounded to nearest. Damping grows
 * tenfold while the matrix is not positive definite.
 */
export function gptqRound(columns: GptqColumns): Int32Array {
  const { rows, depth } = columns;
  const order = columnOrder(columns);
  const factor = inverseFactor(columns, order);
  const codes = new Int32Array(rows * depth);
  const work = permuted(columns, order);
  const errors = new Float64Array(BLOCK);
  for (let start = 0; start < depth; start += BLOCK) {
    const end = Math.min(depth, start + BLOCK);
    for (let row = 0; row < rows; row += 1) {
      const base = row * depth;
      for (let j = start; j < end; j += 1) {
        const k = order[j] ?? 0;
        const current = work[base + j] ?? 0;
        const { code, value } = columns.quantize(current, row, k);
        codes[base + k] = code;
        const error = factor ? (current - value) / (factor[j * depth + j] ?? 1) : 0;
        errors[j - start] = error;
        if (factor && error !== 0) passOn(work, base, { error, factor, line: j * depth, from: j + 1, to: end });
      }
      if (!factor) continue;
      for (let j = start; j < end; j += 1) {
        passOn(work, base, { error: errors[j - start] ?? 0, factor, line: j * depth, from: end, to: depth });
      }
    }
  }
  return codes;
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

function columnOrder({ depth, hessian, actOrder }: GptqColumns): Uint32Array {
  const order = Uint32Array.from({ length: depth }, (_, k) => k);
  const importance = (k: number): number => hessian[k * depth + k] ?? 0;
  return actOrder ? order.sort((a, b) => importance(b) - importance(a) || a - b) : order;
}

function permuted({ rows, depth, weights }: GptqColumns, order: Uint32Array): Float64Array {
  const work = new Float64Array(rows * depth);
  for (let at = 0; at < work.length; at += 1) {
    const j = at % depth;
    work[at] = weights[at - j + (order[j] ?? 0)] ?? 0;
  }
  return work;
}

/** U of the damped matrix in the order of the columns; null when it says nothing (a value that is not finite): nearest rounding is left. */
function inverseFactor({ depth, hessian, damping = DAMPING }: GptqColumns, order: Uint32Array): Float64Array | null {
  const matrix = new Float64Array(depth * depth);
  let trace = 0;
  for (let i = 0; i < depth; i += 1) {
    const line = (order[i] ?? 0) * depth;
    for (let j = 0; j < depth; j += 1) matrix[i * depth + j] = hessian[line + (order[j] ?? 0)] ?? 0;
    trace += matrix[i * depth + i] ?? 0;
  }
  for (let i = 0; i < depth; i += 1) if (matrix[i * depth + i] === 0) matrix[i * depth + i] = 1;
  let added = (damping * trace) / depth;
  let present = 0;
  for (let attempt = 0; attempt < DAMPING_ATTEMPTS; attempt += 1, added *= 10) {
    for (let i = 0; i < depth; i += 1) matrix[i * depth + i] = (matrix[i * depth + i] ?? 0) + added - present;
    present = added;
    const factor = choleskyInverseUpper(matrix, depth);
    if (factor) return factor;
  }
  return null;
}
