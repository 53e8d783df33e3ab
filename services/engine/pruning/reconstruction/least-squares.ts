/** The change of a layer's weights that explains an error best: ridge regression on normal equations, in float64. */
import type { FitSums } from '../../normal-equations/fit-sums.js';
import { choleskyUpper, solveWithFactor } from '../../normal-equations/linear-algebra.js';

/** What is added to the weights and the bias of a layer. */
export interface WeightChange {
  /** [groups, K, O]. */
  readonly weights: Float64Array;
  /** [groups, O]; zeros when the layer has no bias that could change. */
  readonly bias: Float64Array;
}

export interface FitForm {
  /** Share of the mean of the diagonal that is added to it. */
  readonly ridge: number;
  /** Whether the bias changes, too: it is not pulled towards what it was. */
  readonly hasBias: boolean;
}

const RIDGE_GROWTH = 10;
const ATTEMPTS = 8;

/**
 * Solves, for each group, with x and e centred where there is a bias,
 *   D = (X^T X / n + r I)^-1 X^T E / n,  b = mean(e) - D^T mean(x),  r = ridge mean(diag(X^T X / n)):
 * the weights move from where they are, so that r pulls them there and not to zero. The factor is kept: of the sums that `solve`
 * is given only those with E may be others.
 */
export class RidgeFit {
  private readonly factors: Float64Array[];

  constructor(
    private readonly sums: FitSums,
    private readonly form: FitForm,
  ) {
    this.factors = Array.from({ length: sums.groups }, (_, group) => ridgeFactor(sums, group, form));
  }

  solve({ rows, cross, errors, outputs }: FitSums): WeightChange {
    const { groups, depth, inputs, rows: all } = this.sums;
    const weights = new Float64Array(groups * depth * outputs);
    const bias = new Float64Array(groups * outputs);
    for (let group = 0; group < groups; group += 1) {
      const right = cross.slice(group * depth * outputs, (group + 1) * depth * outputs);
      for (let k = 0; k < depth; k += 1) {
        const mean = this.form.hasBias ? (inputs[group * depth + k] ?? 0) / all : 0;
        for (let o = 0; o < outputs; o += 1)
          right[k * outputs + o] = ((right[k * outputs + o] ?? 0) - mean * (errors[group * outputs + o] ?? 0)) / rows;
      }
      const change = solveWithFactor(this.factors[group] ?? new Float64Array(), right, depth);
      weights.set(change, group * depth * outputs);
      if (!this.form.hasBias) continue;
      for (let o = 0; o < outputs; o += 1) {
        let shift = (errors[group * outputs + o] ?? 0) / rows;
        for (let k = 0; k < depth; k += 1) shift -= ((inputs[group * depth + k] ?? 0) / all) * (change[k * outputs + o] ?? 0);
        bias[group * outputs + o] = shift;
      }
    }
    return { weights, bias };
  }
}

/** Of X^T X / n + r I; r grows while the matrix is not positive definite, which rounding alone can do. */
function ridgeFactor(sums: FitSums, group: number, { ridge, hasBias }: FitForm): Float64Array {
  const { depth, rows, gram, inputs } = sums;
  const matrix = new Float64Array(depth * depth);
  let trace = 0;
  for (let i = 0; i < depth; i += 1) {
    const mean = hasBias ? (inputs[group * depth + i] ?? 0) / rows : 0;
    const line = (group * depth + i) * depth;
    for (let j = 0; j < depth; j += 1) matrix[i * depth + j] = ((gram[line + j] ?? 0) - mean * (inputs[group * depth + j] ?? 0)) / rows;
    trace += matrix[i * depth + i] ?? 0;
  }
  let added = trace > 0 ? (ridge * trace) / depth : 1;
  let present = 0;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1, added *= RIDGE_GROWTH) {
    for (let i = 0; i < depth; i += 1) matrix[i * depth + i] = (matrix[i * depth + i] ?? 0) + added - present;
    present = added;
    const factor = choleskyUpper(matrix, depth);
    if (factor) return factor;
  }
  throw new Error('ridgeFactor: the sums hold values that are not finite');
}

/**
 * The squared error that is left after a change, summed over the rows of `sums`:
 *   sum |e - D^T x - b|^2 = e.e - 2 D.(x e^T) - 2 b.e + D^T (x x^T) D + 2 (D b).x + n b.b.
 */
export function errorAfter(sums: FitSums, { weights, bias }: WeightChange): number {
  const { groups, depth, outputs, rows } = sums;
  let error = 0;
  for (const square of sums.squares) error += square;
  for (let at = 0; at < weights.length; at += 1) error -= 2 * (weights[at] ?? 0) * (sums.cross[at] ?? 0);
  for (let at = 0; at < bias.length; at += 1) error += (bias[at] ?? 0) * (rows * (bias[at] ?? 0) - 2 * (sums.errors[at] ?? 0));
  for (let group = 0; group < groups; group += 1) {
    for (let i = 0; i < depth; i += 1) {
      const line = (group * depth + i) * outputs;
      error += 2 * (sums.inputs[group * depth + i] ?? 0) * dot(weights, line, { other: bias, from: group * outputs, count: outputs });
      for (let j = 0; j <= i; j += 1) {
        const product = sums.gram[(group * depth + i) * depth + j] ?? 0;
        const both = dot(weights, line, { other: weights, from: (group * depth + j) * outputs, count: outputs });
        error += (i === j ? 1 : 2) * product * both;
      }
    }
  }
  return error;
}

function dot(left: Float64Array, start: number, { other, from, count }: { other: Float64Array; from: number; count: number }): number {
  let sum = 0;
  for (let at = 0; at < count; at += 1) sum += (left[start + at] ?? 0) * (other[from + at] ?? 0);
  return sum;
}
