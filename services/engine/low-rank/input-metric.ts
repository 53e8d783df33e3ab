/** What is known of the inputs of a layer, as the measure of its errors: sums over the calibration samples, made fit to be inverted. */
import type { GramMatrix } from '../normal-equations/gram-matrices.js';

export interface InputMetric {
  /** [depth, depth]: about the sum of (x - m)(x - m)^T over the rows x; m is the mean, or 0 where no bias can take it up. */
  readonly gram: Float64Array;
  /** [depth]: the mean that the bias takes up; null where it cannot. */
  readonly mean: Float64Array | null;
  readonly rows: number;
}

/**
 * Part of the mean variance of the inputs that every direction is given: inputs that the samples never showed still exist, and
 * the matrix can be inverted.
 */
const FLOOR = 1e-2;

/** `gram` [depth, depth] of one group; with `centred` the mean is taken out, as the bias of the layer makes up for it. */
export function inputMetric({ gram, depth, mean, rows }: GramMatrix, centred: boolean): InputMetric {
  const sums = gram.slice();
  if (centred) {
    for (let i = 0; i < depth; i += 1) {
      const scaled = rows * (mean[i] ?? 0);
      for (let j = 0; j < depth; j += 1) sums[i * depth + j] = (sums[i * depth + j] ?? 0) - scaled * (mean[j] ?? 0);
    }
  }
  let trace = 0;
  for (let i = 0; i < depth; i += 1) trace += Math.max(0, sums[i * depth + i] ?? 0);
  const floor = FLOOR * (trace > 0 ? trace / depth : 1);
  for (let i = 0; i < depth; i += 1) sums[i * depth + i] = (sums[i * depth + i] ?? 0) + floor;
  return { gram: sums, mean: centred ? mean : null, rows };
}
