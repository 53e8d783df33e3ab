/** Rounding up or down, weight by weight, for the least error of the products with real inputs: AdaRound's problem without training. */
import type { GptqColumns } from './gptq.js';

export interface AdaroundColumns extends GptqColumns {
  /** The value of a code in row `row`, column `k`. */
  value(code: number, row: number, k: number): number;
  /** Codes that may be used, both ends included. */
  readonly low: number;
  readonly high: number;
  /** Codes [N, K] to start from, those of gptqRound for example; default: nearest. */
  readonly start?: Int32Array;
}

/** Moves per weight after which a row is left as it is; some tenths are usual. */
const MOVES_PER_WEIGHT_MAX = 4;
const DAMPING = 0.01;
/** Gains below this share of the loss are rounding noise of float64. */
const GAIN_MIN = 1e-12;

/**
 * Codes [N, K] in a local minimum of d^T H d for each row, d = rounded - original: AdaRound's quadratic problem
 * (arXiv 2004.10568, equation 13) by coordinate descent. Of all moves of one weight to a neighbouring code the best is made,
 *   change of the loss = 2 delta g_k + delta^2 H_kk,  g = H d,
 * until none lowers the loss. Never worse than the start.
 */
export function adaroundRound(columns: AdaroundColumns): Int32Array {
  const { rows, depth } = columns;
  const hessian = damped(columns);
  const codes = new Int32Array(rows * depth);
  for (let row = 0; row < rows; row += 1) codes.set(new RowDescent(columns, hessian, row).run(), row * depth);
  return codes;
}

function damped({ depth, hessian, damping = DAMPING }: AdaroundColumns): Float64Array {
  const matrix = Float64Array.from(hessian);
  let trace = 0;
  for (let k = 0; k < depth; k += 1) trace += hessian[k * depth + k] ?? 0;
  for (let k = 0; k < depth; k += 1) matrix[k * depth + k] = (matrix[k * depth + k] ?? 0) + (damping * trace) / depth || 1;
  return matrix;
}

class RowDescent {
  private readonly codes: Int32Array;
  /** H d */
  private readonly gradient: Float64Array;

  constructor(
    private readonly columns: AdaroundColumns,
    private readonly hessian: Float64Array,
    private readonly row: number,
  ) {
    const { depth, start, weights } = columns;
    this.codes = new Int32Array(depth);
    this.gradient = new Float64Array(depth);
    for (let k = 0; k < depth; k += 1) {
      const weight = weights[row * depth + k] ?? 0;
      this.codes[k] = start ? (start[row * depth + k] ?? 0) : columns.quantize(weight, row, k).code;
      this.shift(k, columns.value(this.codes[k] ?? 0, row, k) - weight);
    }
  }

  run(): Int32Array {
    const { depth } = this.columns;
    for (let moves = 0; moves < MOVES_PER_WEIGHT_MAX * depth; moves += 1) {
      const move = this.bestMove();
      if (!move) break;
      this.codes[move.k] = move.code;
      this.shift(move.k, move.delta);
    }
    return this.codes;
  }

  private bestMove(): { k: number; code: number; delta: number } | undefined {
    const { depth, low, high, value } = this.columns;
    let best: { k: number; code: number; delta: number } | undefined;
    let least = 0;
    for (let k = 0; k < depth; k += 1) {
      const present = this.codes[k] ?? 0;
      const from = value(present, this.row, k);
      const curvature = this.hessian[k * depth + k] ?? 0;
      for (let code = Math.max(low, present - 1); code <= Math.min(high, present + 1); code += 1) {
        const delta = value(code, this.row, k) - from;
        const change = delta * (2 * (this.gradient[k] ?? 0) + delta * curvature);
        if (change >= least || -change < GAIN_MIN * delta * delta * curvature) continue;
        least = change;
        best = { k, code, delta };
      }
    }
    return best;
  }

  /** d_k += delta */
  private shift(k: number, delta: number): void {
    const { depth } = this.columns;
    if (delta === 0) return;
    for (let j = 0; j < depth; j += 1) this.gradient[j] = (this.gradient[j] ?? 0) + delta * (this.hessian[k * depth + j] ?? 0);
  }
}
