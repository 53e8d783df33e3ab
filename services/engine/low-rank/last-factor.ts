/** Least squares for the last factor of a layer on the inputs that were seen, whatever its other factors are. */
import { choleskyInverseUpper } from '../normal-equations/linear-algebra.js';
import { innerProduct, product, productOfRows } from './dense-products.js';

export interface LastFactorRequest {
  /** W [channels, depth]. */
  readonly rows: Float64Array;
  readonly channels: number;
  readonly depth: number;
  /** T [inputs, depth]: what the last factor is given, as sums over the inputs of the layer. */
  readonly inputs: Float64Array;
  /** G [depth, depth]. */
  readonly gram: Float64Array;
  /** tr(W G W^T) */
  readonly energy: number;
}

export interface LastFactor {
  /** B [channels, inputs] */
  readonly values: Float64Array;
  /** tr((W - B T) G (W - B T)^T) */
  readonly error: number;
}

/** Ridge, as a part of the mean energy of the inputs of the last factor: rounding must not decide. */
const RIDGE = 1e-9;

/**
 * The B that minimises tr((W - B T) G (W - B T)^T) (normal equations; methods.md 3.11 for the second factor):
 *   B = W G T^T (T G T^T + ridge)^-1,  error = tr(W G W^T) - tr(B T G W^T) - ridge tr(B B^T).
 * null when the inputs of the last factor are all zero.
 */
export function fitLastFactor({ rows, channels, depth, inputs, gram, energy }: LastFactorRequest): LastFactor | null {
  const size = inputs.length / depth;
  const weighted = product(inputs, gram, { rows: size, inner: depth, columns: depth });
  const normal = productOfRows(weighted, inputs, { rows: size, inner: depth, columns: size });
  const mixed = productOfRows(rows, weighted, { rows: channels, inner: depth, columns: size });
  let trace = 0;
  for (let at = 0; at < size; at += 1) trace += normal[at * size + at] ?? 0;
  if (!(trace > 0)) return null;
  const ridge = (RIDGE * trace) / size;
  for (let at = 0; at < size; at += 1) normal[at * size + at] = (normal[at * size + at] ?? 0) + ridge;
  const inverse = choleskyInverseUpper(normal, size);
  if (!inverse) return null;
  // N^-1 = U^T U
  const half = productOfRows(mixed, inverse, { rows: channels, inner: size, columns: size });
  const values = product(half, inverse, { rows: channels, inner: size, columns: size });
  return { values, error: Math.max(0, energy - innerProduct(values, mixed) - ridge * innerProduct(values, values)) };
}

/** tr(W G W^T); null for G is the identity. */
export function outputEnergy(
  rows: Float64Array,
  { channels, depth, gram }: { readonly channels: number; readonly depth: number; readonly gram: Float64Array | null },
): number {
  if (!gram) return innerProduct(rows, rows);
  return innerProduct(product(rows, gram, { rows: channels, inner: depth, columns: depth }), rows);
}
