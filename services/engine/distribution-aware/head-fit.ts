/** The last layer fitted anew to what the float model makes of the same samples, from what it reads of the rounded one. */
import { elementCount, float32Values } from '../ir/index.js';
import { choleskyUpper, solveWithFactor } from '../normal-equations/linear-algebra.js';
import type { Head } from './quantization-plan.js';

/** Share of the mean square of a feature that is added to each: keeps a fit on few windows near no fit at all in empty directions. */
const RIDGE = 1e-2;

/** One run: what the head reads [rows, depth], and what the float head made of the float model [rows, channels]. */
export interface HeadRows {
  readonly features: Float32Array;
  readonly targets: Float32Array;
}

export interface FittedHead {
  /** [channels, depth] */
  readonly rows: Float64Array;
  /** [channels] */
  readonly bias: Float64Array;
}

/**
 * min over W, b of sum |W x + b - y|^2 + ridge |W - W0|^2: the float head W0 is what the data do not speak against.
 * With centred x and y:  (X^T X + r I) D = X^T (Y - X W0^T),  W = W0 + D^T,  b = mean y - W mean x.
 * null when the equations have no solution.
 */
export class HeadFit {
  private readonly gram: Float64Array;
  private readonly cross: Float64Array;
  private readonly sumX: Float64Array;
  private readonly sumY: Float64Array;
  private count = 0;

  constructor(
    private readonly depth: number,
    private readonly channels: number,
  ) {
    this.gram = new Float64Array(depth * depth);
    this.cross = new Float64Array(depth * channels);
    this.sumX = new Float64Array(depth);
    this.sumY = new Float64Array(channels);
  }

  add({ features, targets }: HeadRows): void {
    const { depth, channels, gram, cross } = this;
    const rows = features.length / depth;
    for (let row = 0; row < rows; row += 1) {
      const x = features.subarray(row * depth, (row + 1) * depth);
      const y = targets.subarray(row * channels, (row + 1) * channels);
      accumulate(gram, x, x);
      accumulate(cross, x, y);
      for (const [at, value] of x.entries()) this.sumX[at] = (this.sumX[at] ?? 0) + value;
      for (const [at, value] of y.entries()) this.sumY[at] = (this.sumY[at] ?? 0) + value;
    }
    this.count += rows;
  }

  /** `start` [channels, depth]. */
  solve(start: Float64Array): FittedHead | null {
    const { depth, channels, count } = this;
    if (count < 2) return null;
    const [meanX, meanY] = [this.sumX.map((sum) => sum / count), this.sumY.map((sum) => sum / count)];
    const gram = this.gram.map((sum, at) => sum - count * (meanX[Math.floor(at / depth)] ?? 0) * (meanX[at % depth] ?? 0));
    const right = this.cross.map((sum, at) => sum - count * (meanX[Math.floor(at / channels)] ?? 0) * (meanY[at % channels] ?? 0));
    for (let i = 0; i < depth; i += 1)
      for (let j = 0; j < channels; j += 1) {
        let made = 0;
        for (let k = 0; k < depth; k += 1) made += (gram[i * depth + k] ?? 0) * (start[j * depth + k] ?? 0);
        right[i * channels + j] = (right[i * channels + j] ?? 0) - made;
      }
    let trace = 0;
    for (let i = 0; i < depth; i += 1) trace += gram[i * depth + i] ?? 0;
    for (let i = 0; i < depth; i += 1) gram[i * depth + i] = (gram[i * depth + i] ?? 0) + (RIDGE * trace) / depth;
    const factor = choleskyUpper(gram, depth);
    if (!factor) return null;
    const change = solveWithFactor(factor, right, depth);
    const rows = start.map((weight, at) => weight + (change[(at % depth) * channels + Math.floor(at / depth)] ?? 0));
    return { rows, bias: this.biasOf(rows) };
  }

  /** b = mean y - W mean x: what makes the means right for any weights, rounded ones too. */
  biasOf(rows: ArrayLike<number>): Float64Array {
    const { depth, count } = this;
    return this.sumY.map((sum, channel) => {
      let made = 0;
      for (let k = 0; k < depth; k += 1) made += (rows[channel * depth + k] ?? 0) * (this.sumX[k] ?? 0);
      return (sum - made) / count;
    });
  }
}

/** sums[i, j] += left_i right_j */
function accumulate(sums: Float64Array, left: Float32Array, right: Float32Array): void {
  const columns = right.length;
  for (let i = 0, at = 0; i < left.length; i += 1) {
    const factor = left[i] ?? 0;
    for (let j = 0; j < columns; j += 1, at += 1) sums[at] = (sums[at] ?? 0) + factor * (right[j] ?? 0);
  }
}

/** The vector that the head adds, when it adds one that can be moved. */
export function headBias({ dense }: Head): { readonly name: string; readonly values: Float32Array } | null {
  const vector = dense.bias?.vector;
  if (!vector || dense.bias?.factor !== 1 || dense.alpha !== 1 || elementCount(vector.tensor.dims) !== dense.channels) return null;
  return vector.value.consumers.length === 1 ? { name: vector.value.name, values: float32Values(vector.tensor) } : null;
}
