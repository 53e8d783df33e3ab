/** Rounding of a weight matrix for the least error of its products with real inputs: GPTQ (arXiv 2210.17323, methods.md 3.6). */
import { byFallingDiagonal, dampedInverseFactor, eliminateColumns } from '../normal-equations/column-elimination.js';

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

/**
 * Codes [N, K]: column elimination with rounding as what settles a weight. A column whose input never was anything but 0 is
 * rounded to nearest, and so is everything when the matrix says nothing.
 */
export function gptqRound(columns: GptqColumns): Int32Array {
  const { rows, depth, hessian, damping } = columns;
  const order = columns.actOrder ? byFallingDiagonal(hessian, depth) : Uint32Array.from({ length: depth }, (_, k) => k);
  const codes = new Int32Array(rows * depth);
  eliminateColumns({
    rows,
    depth,
    work: permuted(columns, order),
    factor: dampedInverseFactor({ hessian, depth, order, ...(damping === undefined ? {} : { damping }) }),
    settle(current, row, j) {
      const k = order[j] ?? 0;
      const { code, value } = columns.quantize(current, row, k);
      codes[row * depth + k] = code;
      return value;
    },
  });
  return codes;
}

function permuted({ rows, depth, weights }: GptqColumns, order: Uint32Array): Float64Array {
  const work = new Float64Array(rows * depth);
  for (let at = 0; at < work.length; at += 1) {
    const j = at % depth;
    work[at] = weights[at - j + (order[j] ?? 0)] ?? 0;
  }
  return work;
}
