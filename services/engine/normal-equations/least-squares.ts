/** The change of a layer's weights that explains an error best: ridge regression on normal equations, in float64. */
import type { FitSums } from './fit-sums.js';
import { type NormalSystem, normalSystem, type Solver } from './normal-system.js';

/** What is added to the weights and the bias of a layer. */
export interface WeightChange {
  /** [groups, K, O]. */
  readonly weights: Float64Array;
  /** [groups, O]; zeros when the layer has no bias that could change. */
  readonly bias: Float64Array;
}

/**
 * Solves, for each group, with x and e centred where there is a bias,
 *   D = (X^T X / n + r I)^-1 X^T E / n,  b = mean(e) - D^T mean(x),  r = ridge mean(diag(X^T X / n)):
 * the weights move from where they are, so that r pulls them there and not to zero; the bias is not pulled.
 */
export class NormalEquations {
  private readonly systems: readonly NormalSystem[];

  /** `hasBias`: whether the bias changes, too. */
  constructor(
    private readonly sums: FitSums,
    private readonly hasBias: boolean,
  ) {
    this.systems = Array.from({ length: sums.groups }, (_, group) => normalSystem(sums, group, hasBias));
  }

  /** `ridge`: share of the mean of the diagonal that is added to it. Null when the sums hold values that are not finite. */
  fit(ridge: number): RidgeFit | null {
    const solvers = this.systems.flatMap((system) => system.solver(ridge) ?? []);
    return solvers.length === this.sums.groups ? new RidgeFit(this.sums, this.hasBias, solvers) : null;
  }
}

/** Of the sums that `solve` is given only those with E may be others than in the equations. */
export class RidgeFit {
  constructor(
    private readonly sums: FitSums,
    private readonly hasBias: boolean,
    private readonly solvers: readonly Solver[],
  ) {}

  solve({ rows, cross, errors, outputs }: FitSums): WeightChange {
    const { groups, depth, inputs, rows: all } = this.sums;
    const weights = new Float64Array(groups * depth * outputs);
    const bias = new Float64Array(groups * outputs);
    for (const [group, solver] of this.solvers.entries()) {
      const right = cross.slice(group * depth * outputs, (group + 1) * depth * outputs);
      for (let k = 0; k < depth; k += 1) {
        const mean = this.hasBias ? (inputs[group * depth + k] ?? 0) / all : 0;
        for (let o = 0; o < outputs; o += 1)
          right[k * outputs + o] = ((right[k * outputs + o] ?? 0) - mean * (errors[group * outputs + o] ?? 0)) / rows;
      }
      const change = solver(right);
      weights.set(change, group * depth * outputs);
      if (!this.hasBias) continue;
      for (let o = 0; o < outputs; o += 1) {
        let shift = (errors[group * outputs + o] ?? 0) / rows;
        for (let k = 0; k < depth; k += 1) shift -= ((inputs[group * depth + k] ?? 0) / all) * (change[k * outputs + o] ?? 0);
        bias[group * outputs + o] = shift;
      }
    }
    return { weights, bias };
  }
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
    }
  }
  return error + (sums.blocks ? answeredRows(sums, weights) : answeredProducts(sums, weights));
}

/** D^T (x x^T) D, from the sums of x x^T. */
function answeredProducts({ groups, depth, outputs, gram }: FitSums, weights: Float64Array): number {
  let sum = 0;
  for (let group = 0; group < groups; group += 1) {
    for (let i = 0; i < depth; i += 1) {
      const line = (group * depth + i) * outputs;
      for (let j = 0; j <= i; j += 1) {
        const product = gram[(group * depth + i) * depth + j] ?? 0;
        const both = dot(weights, line, { other: weights, from: (group * depth + j) * outputs, count: outputs });
        sum += (i === j ? 1 : 2) * product * both;
      }
    }
  }
  return sum;
}

/** The same as |D^T x|^2, row by row. */
function answeredRows({ groups, depth, outputs, blocks = [] }: FitSums, weights: Float64Array): number {
  let sum = 0;
  const answer = new Float64Array(outputs);
  for (const { values, count } of blocks) {
    for (let at = 0; at < groups * count; at += 1) {
      const [group, row] = [Math.floor(at / count), at % count];
      answer.fill(0);
      for (let k = group * depth; k < (group + 1) * depth; k += 1) {
        const value = values[k * count + row] ?? 0;
        if (value !== 0) for (let o = 0; o < outputs; o += 1) answer[o] = (answer[o] ?? 0) + value * (weights[k * outputs + o] ?? 0);
      }
      for (const each of answer) sum += each * each;
    }
  }
  return sum;
}

function dot(left: Float64Array, start: number, { other, from, count }: { other: Float64Array; from: number; count: number }): number {
  let sum = 0;
  for (let at = 0; at < count; at += 1) sum += (left[start + at] ?? 0) * (other[from + at] ?? 0);
  return sum;
}
