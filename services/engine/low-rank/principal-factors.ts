/** The best product of two thin matrices in place of a weight: for the weight itself, or for what it makes of the inputs seen. */
import { choleskyInverseUpper, choleskyUpper } from '../normal-equations/linear-algebra.js';
import { product, productOfRows, transposed } from './dense-products.js';
import { symmetricEigen } from './symmetric-eigen.js';

/** Y = W X for W [channels, depth]; the squared error of W' is tr((W - W') G (W - W')^T). */
export interface WeightedMatrix {
  /** [channels, depth] */
  readonly rows: Float64Array;
  readonly channels: number;
  readonly depth: number;
  /** G, positive definite; null for the identity. */
  readonly metric: WeightMetric | null;
}

export interface WeightMetric {
  /** G [depth, depth] */
  readonly gram: Float64Array;
  /** W G [channels, depth] */
  readonly weighted: Float64Array;
}

export interface PrincipalFactors {
  /** Squared singular values of W G^(1/2), the largest first: what a product of rank r loses is the sum of those from r on. */
  readonly energies: Float64Array;
  /** Ranks up to this one are held. */
  readonly rank: number;
  /** [rank, depth]: the rows of the first factor, the most important first. */
  readonly first: Float32Array;
  /** [channels, rank]: the columns of the second. */
  readonly last: Float32Array;
}

/** The wanted directions of the smaller side of W. */
interface Directions {
  readonly energies: Float64Array;
  readonly first: Float64Array;
  readonly last: Float64Array;
}

/**
 * The factors of all ranks up to `rank` (Eckart and Young 1936): with G = R R^T and W R = U S V^T the best product of rank r is
 *   U_r U_r^T W = W R V_r V_r^T R^-1.
 * The first form takes the eigenvectors U of W G W^T [channels, channels], the second V of R^T W^T W R [depth, depth]: the smaller one
 * is computed. Both factors are scaled to the same size, row by row against column by column.
 */
export function principalFactors(matrix: WeightedMatrix, rank: number): PrincipalFactors {
  const { channels, depth } = matrix;
  const { energies, first, last } = channels <= depth ? byOutputs(matrix, rank) : byInputs(matrix, rank);
  const columns = transposed(last, channels, rank);
  for (let r = 0; r < rank; r += 1) {
    const scale = Math.sqrt(norm(columns.subarray(r * channels, (r + 1) * channels)) / norm(first.subarray(r * depth, (r + 1) * depth)));
    // A direction without energy is zero on one side.
    if (!(scale > 0) || !Number.isFinite(scale)) continue;
    for (let k = r * depth; k < (r + 1) * depth; k += 1) first[k] = (first[k] ?? 0) * scale;
    for (let c = r * channels; c < (r + 1) * channels; c += 1) columns[c] = (columns[c] ?? 0) / scale;
  }
  return { energies, rank, first: Float32Array.from(first), last: Float32Array.from(transposed(columns, rank, channels)) };
}

function byOutputs({ rows, channels, depth, metric }: WeightedMatrix, rank: number): Directions {
  const squares = productOfRows(metric?.weighted ?? rows, rows, { rows: channels, inner: depth, columns: channels });
  const { values, vectors } = symmetricEigen(squares, channels);
  const chosen = vectors.slice(0, rank * channels);
  return {
    energies: values.map((value) => Math.max(0, value)),
    first: product(chosen, rows, { rows: rank, inner: channels, columns: depth }),
    last: transposed(chosen, rank, channels),
  };
}

function byInputs({ rows, channels, depth, metric }: WeightedMatrix, rank: number): Directions {
  const gram = metric?.gram ?? null;
  const root = gram && choleskyUpper(gram, depth);
  const inverse = gram && choleskyInverseUpper(gram, depth);
  if (gram && !(root && inverse)) throw new RangeError('principalFactors: the matrix of the inputs is not positive definite');
  const weighted = root ? product(rows, root, { rows: channels, inner: depth, columns: depth }) : rows;
  const columns = transposed(weighted, channels, depth);
  const { values, vectors } = symmetricEigen(product(columns, weighted, { rows: depth, inner: channels, columns: depth }), depth);
  const chosen = vectors.slice(0, rank * depth);
  return {
    energies: values.map((value) => Math.max(0, value)),
    first: inverse ? product(chosen, inverse, { rows: rank, inner: depth, columns: depth }) : chosen,
    last: productOfRows(weighted, chosen, { rows: channels, inner: depth, columns: rank }),
  };
}

function norm(values: Float64Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
