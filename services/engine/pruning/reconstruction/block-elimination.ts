/** Blocks of inputs that leave a linear layer one after the other, while the others make good what they can: block optimal brain surgeon. */
import { choleskyUpper, inverseOfPositive, solveWithFactor } from '../../normal-equations/linear-algebra.js';

export interface EliminationProblem {
  /** W [O, K], row-major. */
  readonly weights: Float64Array;
  readonly outputs: number;
  /** C [K, K], the covariance of the inputs. */
  readonly covariance: Float64Array;
  readonly depth: number;
  /** Inputs of each block; an empty block leaves for nothing. */
  readonly blocks: readonly (readonly number[])[];
}

/** Share of the mean of the diagonal that is added to it, as when the layer is refitted. */
const RIDGE = 1e-4;

/**
 * Hassibi and Stork 1993 for a block G of inputs. With H = C + r I, the least error sum |W x - W' x|^2 of weights W' that are 0 at G is
 *   sum over outputs of w_G^T ((H^-1)_GG)^-1 w_G,  reached by  W' = W - W_G ((H^-1)_GG)^-1 (H^-1)_G;
 * what is left is the same problem with  H^-1' = H^-1 - (H^-1)_G^T ((H^-1)_GG)^-1 (H^-1)_G.
 */
export class BlockElimination {
  /** W [O, K] as it stands: 0 at the blocks that left. */
  readonly weights: Float64Array;
  /** sum over outputs of w^T C w: the variance of what the layer computes. */
  readonly energy: number;
  private readonly inverse: Float64Array;
  private readonly outputs: number;
  private readonly depth: number;
  private readonly blocks: readonly (readonly number[])[];

  constructor({ weights, outputs, covariance, depth, blocks }: EliminationProblem) {
    this.weights = Float64Array.from(weights);
    [this.outputs, this.depth, this.blocks] = [outputs, depth, blocks];
    this.energy = energyOf(weights, covariance, depth);
    this.inverse = regularInverse(covariance, depth);
  }

  /** The error that the removal of a block adds. */
  cost(block: number): number {
    const inputs = this.blocks[block] ?? [];
    if (inputs.length === 1) return this.costOfInput(inputs[0] ?? 0);
    const solved = this.solvedWeights(inputs);
    let cost = 0;
    for (const [i, input] of inputs.entries()) {
      for (let o = 0; o < this.outputs; o += 1) cost += (this.weights[o * this.depth + input] ?? 0) * (solved[i * this.outputs + o] ?? 0);
    }
    return Math.max(0, cost);
  }

  /** sum over outputs of w^2 / (H^-1)_gg. */
  private costOfInput(input: number): number {
    const { depth, weights, inverse } = this;
    let sum = 0;
    for (let at = input; at < weights.length; at += depth) sum += (weights[at] ?? 0) ** 2;
    return sum / (inverse[input * depth + input] ?? 1);
  }

  remove(block: number): void {
    const { depth, outputs, weights, inverse } = this;
    const inputs = this.blocks[block] ?? [];
    const lines = inputs.map((input) => inverse.slice(input * depth, (input + 1) * depth));
    const solvedWeights = this.solvedWeights(inputs);
    for (let o = 0; o < outputs; o += 1) subtractLines(weights, o * depth, { solved: solvedWeights, column: o, columns: outputs, lines });
    const across = new Float64Array(inputs.length * depth);
    for (const [i, line] of lines.entries()) across.set(line, i * depth);
    const solved = solveWithFactor(this.factor(inputs), across, inputs.length);
    for (let k = 0; k < depth; k += 1) subtractLines(inverse, k * depth, { solved, column: k, columns: depth, lines });
    for (const input of inputs) this.close(input);
  }

  /** Rounding leaves traces where zeros belong; 1 on the diagonal keeps the blocks of others regular. */
  private close(input: number): void {
    const { depth, outputs, weights, inverse } = this;
    for (let o = 0; o < outputs; o += 1) weights[o * depth + input] = 0;
    for (let k = 0; k < depth; k += 1) inverse[input * depth + k] = inverse[k * depth + input] = 0;
    inverse[input * depth + input] = 1;
  }

  /** ((H^-1)_GG)^-1 W_G^T [G, O]. */
  private solvedWeights(inputs: readonly number[]): Float64Array {
    const right = new Float64Array(inputs.length * this.outputs);
    for (const [i, input] of inputs.entries()) {
      for (let o = 0; o < this.outputs; o += 1) right[i * this.outputs + o] = this.weights[o * this.depth + input] ?? 0;
    }
    return solveWithFactor(this.factor(inputs), right, inputs.length);
  }

  private factor(inputs: readonly number[]): Float64Array {
    const block = Float64Array.from({ length: inputs.length ** 2 }, (_, at) => {
      const [i, j] = [inputs[Math.floor(at / inputs.length)] ?? 0, inputs[at % inputs.length] ?? 0];
      return this.inverse[i * this.depth + j] ?? 0;
    });
    const factor = choleskyUpper(block, inputs.length);
    if (!factor) throw new Error('BlockElimination: a part of a positive definite matrix is none');
    return factor;
  }
}

interface Lines {
  /** [lines, columns]. */
  readonly solved: Float64Array;
  readonly column: number;
  readonly columns: number;
  readonly lines: readonly Float64Array[];
}

/** values[start..] -= sum over i of solved[i, column] lines[i]. */
function subtractLines(values: Float64Array, start: number, { solved, column, columns, lines }: Lines): void {
  for (const [i, line] of lines.entries()) {
    const factor = solved[i * columns + column] ?? 0;
    if (factor === 0) continue;
    for (let k = 0; k < line.length; k += 1) values[start + k] = (values[start + k] ?? 0) - factor * (line[k] ?? 0);
  }
}

function energyOf(weights: Float64Array, covariance: Float64Array, depth: number): number {
  let energy = 0;
  for (let start = 0; start < weights.length; start += depth) {
    for (let i = 0; i < depth; i += 1) {
      let sum = 0;
      for (let j = 0; j < depth; j += 1) sum += (covariance[i * depth + j] ?? 0) * (weights[start + j] ?? 0);
      energy += (weights[start + i] ?? 0) * sum;
    }
  }
  return energy;
}

const RIDGE_GROWTH = 10;
const ATTEMPTS = 8;

/** (C + r I)^-1; r grows while the matrix is not positive definite, which rounding alone can do. */
function regularInverse(covariance: Float64Array, depth: number): Float64Array {
  const matrix = Float64Array.from(covariance);
  let trace = 0;
  for (let i = 0; i < depth; i += 1) trace += matrix[i * depth + i] ?? 0;
  let added = trace > 0 ? (RIDGE * trace) / depth : 1;
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1, added *= RIDGE_GROWTH) {
    for (let i = 0; i < depth; i += 1) matrix[i * depth + i] = (covariance[i * depth + i] ?? 0) + added;
    const inverse = inverseOfPositive(matrix, depth);
    if (inverse) return inverse;
  }
  throw new Error('regularInverse: the covariance holds values that are not finite');
}
