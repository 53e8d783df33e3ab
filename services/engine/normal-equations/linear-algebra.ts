/** Dense factorizations in float64: the triangular factor of an inverse that GPTQ pushes its rounding errors through, solutions of normal equations. */

/** Rows that are finished together: such a panel stays in the processor's cache while the others stream past it. */
const PANEL = 32;

/**
 * Upper triangular U with H^-1 = U^T U, row-major; null when the symmetric matrix H [n, n] is not positive definite.
 * H = R R^T with R upper triangular (Cholesky from the last row up), hence H^-1 = R^-T R^-1 and U = R^-1.
 */
export function choleskyInverseUpper(h: Float64Array, n: number): Float64Array | null {
  const matrix = Float64Array.from(h);
  if (!factorize(matrix, n)) return null;
  invertUpper(matrix, n);
  return matrix;
}

/** Upper triangular R with H = R R^T, row-major; null when the symmetric matrix H [n, n] is not positive definite. */
export function choleskyUpper(h: Float64Array, n: number): Float64Array | null {
  const matrix = Float64Array.from(h);
  if (!factorize(matrix, n)) return null;
  for (let i = 1; i < n; i += 1) matrix.fill(0, i * n, i * n + i);
  return matrix;
}

/**
 * Overwrites B [n, columns] with the solution X of H X = B, for R [n, n] of `choleskyUpper`: H = R R^T.
 *   R Y = B from the last row up:  Y_i = (B_i - sum_{k>i} R_ik Y_k) / R_ii;
 *   R^T X = Y from the first row down:  X_i = (Y_i - sum_{k<i} R_ki X_k) / R_ii.
 */
export function solveWithFactor(factor: Float64Array, b: Float64Array, n: number): Float64Array {
  const columns = n === 0 ? 0 : b.length / n;
  for (let i = n - 1; i >= 0; i -= 1) {
    for (let k = i + 1; k < n; k += 1) subtractLine(b, { row: i * columns, other: k * columns, columns, factor: at(factor, i * n + k) });
    scaleLine(b, i * columns, columns, 1 / at(factor, i * n + i));
  }
  for (let i = 0; i < n; i += 1) {
    scaleLine(b, i * columns, columns, 1 / at(factor, i * n + i));
    for (let k = i + 1; k < n; k += 1) subtractLine(b, { row: k * columns, other: i * columns, columns, factor: at(factor, i * n + k) });
  }
  return b;
}

function scaleLine(a: Float64Array, row: number, columns: number, factor: number): void {
  for (let j = row; j < row + columns; j += 1) a[j] = at(a, j) * factor;
}

/** a[row + j] -= factor a[other + j] for 0 <= j < columns. */
function subtractLine(
  a: Float64Array,
  { row, other, columns, factor }: { row: number; other: number; columns: number; factor: number },
): void {
  if (factor === 0) return;
  for (let j = 0; j < columns; j += 1) a[row + j] = at(a, row + j) - factor * at(a, other + j);
}

/** H^-1 = U^T U [n, n]; null when the symmetric matrix H is not positive definite. */
export function inverseOfPositive(h: Float64Array, n: number): Float64Array | null {
  const factor = choleskyInverseUpper(h, n);
  if (!factor) return null;
  const inverse = new Float64Array(n * n);
  for (let k = 0; k < n; k += 1) {
    for (let i = k; i < n; i += 1) {
      const scale = at(factor, k * n + i);
      if (scale === 0) continue;
      for (let j = i; j < n; j += 1) inverse[i * n + j] = at(inverse, i * n + j) + scale * at(factor, k * n + j);
    }
  }
  for (let i = 1; i < n; i += 1) for (let j = 0; j < i; j += 1) inverse[i * n + j] = at(inverse, j * n + i);
  return inverse;
}

/**
 * Overwrites the upper half with R of H = R R^T:
 *   R_jj = sqrt(H_jj - sum_{k>j} R_jk^2),  R_ij = (H_ij - sum_{k>j} R_ik R_jk) / R_jj  for i < j.
 * False when a pivot is not positive.
 */
function factorize(a: Float64Array, n: number): boolean {
  for (let end = n; end > 0; end -= PANEL) {
    const start = Math.max(0, end - PANEL);
    subtractFinished(a, n, { start, end });
    for (let j = end - 1; j >= start; j -= 1) {
      const square = at(a, j * n + j) - rowProduct(a, { i: j * n, j: j * n, from: j + 1, to: end });
      if (!(square > 0) || square === Number.POSITIVE_INFINITY) return false;
      const pivot = Math.sqrt(square);
      a[j * n + j] = pivot;
      for (let i = 0; i < j; i += 1) {
        a[i * n + j] = (at(a, i * n + j) - rowProduct(a, { i: i * n, j: j * n, from: j + 1, to: end })) / pivot;
      }
    }
  }
  return true;
}

/**
 * Overwrites R (upper half) with U = R^-1 and the lower half with zeros, from the last row up:
 *   U_i = (e_i - sum_{k>i} R_ik U_k) / R_ii.
 */
function invertUpper(a: Float64Array, n: number): void {
  for (let end = n; end > 0; end -= PANEL) {
    const start = Math.max(0, end - PANEL);
    const factor = a.slice(start * n, end * n);
    a.fill(0, start * n, end * n);
    let k = end;
    for (; k + 3 < n; k += 4) {
      for (let i = start; i < end; i += 1) subtractFourRows(a, n, { row: i * n, factors: factor, at: (i - start) * n + k, k });
    }
    for (; k < n; k += 1) {
      for (let i = start; i < end; i += 1)
        subtractRow(a, { row: i * n, factor: at(factor, (i - start) * n + k), other: k * n, from: k, to: n });
    }
    for (let i = end - 1; i >= start; i -= 1) {
      for (let k = i + 1; k < end; k += 1)
        subtractRow(a, { row: i * n, factor: at(factor, (i - start) * n + k), other: k * n, from: k, to: n });
      const inverse = 1 / at(factor, (i - start) * n + i);
      for (let j = i + 1; j < n; j += 1) a[i * n + j] = at(a, i * n + j) * inverse;
      a[i * n + i] = inverse;
    }
  }
}

function at(values: Float64Array, index: number): number {
  return values[index] ?? 0;
}

/** a_ij -= sum_{k>=end} a_ik a_jk for the columns j of a panel and all rows i <= j above and in it. */
function subtractFinished(a: Float64Array, n: number, { start, end }: { start: number; end: number }): void {
  let i = 0;
  for (; i + 1 < start; i += 2) {
    let j = start;
    for (; j + 3 < end; j += 4) subtractTile(a, n, { i, j, from: end });
    for (; j < end; j += 1) for (const row of [i, i + 1]) subtractProduct(a, n, { i: row, j, from: end });
  }
  for (; i < end; i += 1) for (let j = Math.max(i, start); j < end; j += 1) subtractProduct(a, n, { i, j, from: end });
}

interface Element {
  readonly i: number;
  readonly j: number;
  readonly from: number;
}

function subtractProduct(a: Float64Array, n: number, { i, j, from }: Element): void {
  a[i * n + j] = at(a, i * n + j) - rowProduct(a, { i: i * n, j: j * n, from, to: n });
}

/** The same for rows i and i + 1 and columns j to j + 3 at once: each number that is loaded is used several times. */
function subtractTile(a: Float64Array, n: number, { i, j, from }: Element): void {
  const [i0, i1, j0, j1, j2, j3] = [i * n, (i + 1) * n, j * n, (j + 1) * n, (j + 2) * n, (j + 3) * n];
  let [s00, s01, s02, s03, s10, s11, s12, s13] = [0, 0, 0, 0, 0, 0, 0, 0];
  for (let k = from; k < n; k += 1) {
    const x = at(a, i0 + k);
    const y = at(a, i1 + k);
    const p = at(a, j0 + k);
    const q = at(a, j1 + k);
    const r = at(a, j2 + k);
    const s = at(a, j3 + k);
    s00 += x * p;
    s01 += x * q;
    s02 += x * r;
    s03 += x * s;
    s10 += y * p;
    s11 += y * q;
    s12 += y * r;
    s13 += y * s;
  }
  for (const [column, sum] of [s00, s01, s02, s03].entries()) a[i0 + j + column] = at(a, i0 + j + column) - sum;
  for (const [column, sum] of [s10, s11, s12, s13].entries()) a[i1 + j + column] = at(a, i1 + j + column) - sum;
}

/** a[row + c] -= sum over four rows k of f_k a[k, c], for the columns c from k on. */
function subtractFourRows(
  a: Float64Array,
  n: number,
  { row, factors, at: first, k }: { row: number; factors: Float64Array; at: number; k: number },
): void {
  const [f0, f1, f2, f3] = [at(factors, first), at(factors, first + 1), at(factors, first + 2), at(factors, first + 3)];
  const [k0, k1, k2, k3] = [k * n, (k + 1) * n, (k + 2) * n, (k + 3) * n];
  for (let c = k; c < n; c += 1) {
    a[row + c] = at(a, row + c) - (f0 * at(a, k0 + c) + f1 * at(a, k1 + c) + (f2 * at(a, k2 + c) + f3 * at(a, k3 + c)));
  }
}

/** sum over `from` <= k < `to` of a[i + k] a[j + k]; four sums, so that an addition need not wait for the one before. */
function rowProduct(a: Float64Array, { i, j, from, to }: { i: number; j: number; from: number; to: number }): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let k = from;
  for (; k + 3 < to; k += 4) {
    s0 += at(a, i + k) * at(a, j + k);
    s1 += at(a, i + k + 1) * at(a, j + k + 1);
    s2 += at(a, i + k + 2) * at(a, j + k + 2);
    s3 += at(a, i + k + 3) * at(a, j + k + 3);
  }
  for (; k < to; k += 1) s0 += at(a, i + k) * at(a, j + k);
  return s0 + s1 + (s2 + s3);
}

/** a[row + k] -= factor a[other + k] for `from` <= k < `to`. */
function subtractRow(
  a: Float64Array,
  { row, factor, other, from, to }: { row: number; factor: number; other: number; from: number; to: number },
): void {
  if (factor === 0) return;
  for (let k = from; k < to; k += 1) a[row + k] = at(a, row + k) - factor * at(a, other + k);
}

/**
 * d^T H d for a symmetric H [n, n], row-major, and the n values of d from `start` on:
 *   sum_i d_i (H_ii d_i + 2 sum_{j>i} H_ij d_j).
 */
export function quadraticForm(h: Float64Array, d: Float64Array, n: number, start = 0): number {
  let sum = 0;
  for (let i = 0; i < n; i += 1) {
    const value = d[start + i] ?? 0;
    if (value === 0) continue;
    let [s0, s1] = [0, 0];
    let j = i + 1;
    for (; j + 1 < n; j += 2) {
      s0 += at(h, i * n + j) * at(d, start + j);
      s1 += at(h, i * n + j + 1) * at(d, start + j + 1);
    }
    if (j < n) s0 += at(h, i * n + j) * at(d, start + j);
    sum += value * (at(h, i * n + i) * value + 2 * (s0 + s1));
  }
  return sum;
}
