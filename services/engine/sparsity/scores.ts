/** What a weight is worth: its magnitude, or its magnitude times the size of its input (Wanda). */
import type { PatternMatrix } from './pattern.js';

/** The least positive float32. */
const LEAST = 2 ** -149;

/** Scores of weights that are not zero are not zero, so that those which are zero already count first. */
export function presentScore(score: number): number {
  return Math.max(score, LEAST);
}

/** |w| for each weight [rows, depth]. */
export function magnitudeScores(weights: Float64Array): Float32Array {
  return Float32Array.from(weights, (weight) => (weight === 0 ? 0 : presentScore(Math.abs(weight))));
}

/**
 * Wanda (Sun et al. 2024, arXiv 2306.11695): |w_ij| ||x_j||_2 for each weight [rows, depth]; `squares` are the sums of x_j^2 of the
 * inputs of each group of rows, [groups, depth].
 */
export function wandaScores(weights: Float64Array, squares: Float64Array, { rows, depth }: PatternMatrix): Float32Array {
  const rowsPerGroup = (rows * depth) / squares.length;
  return Float32Array.from(weights, (weight, at) => {
    const group = Math.floor(Math.floor(at / depth) / rowsPerGroup);
    return weight === 0 ? 0 : presentScore(Math.abs(weight) * Math.sqrt(squares[group * depth + (at % depth)] ?? 0));
  });
}
