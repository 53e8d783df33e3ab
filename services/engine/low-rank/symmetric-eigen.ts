/** Eigenvalues and eigenvectors of a symmetric matrix in float64: from them come all singular values and ranks of low-rank layers. */

export interface EigenSystem {
  /** [n], the largest first. */
  readonly values: Float64Array;
  /** [n, n], row-major: row i is the unit eigenvector of values[i]. */
  readonly vectors: Float64Array;
}

/**
 * A = Z^T diag(values) Z. Householder reduction to a tridiagonal matrix and QL steps with implicit shifts (Golub and Van Loan,
 * Matrix Computations, 8.3; EISPACK tred2 and tql2). Eigenvectors are kept as rows, so that every inner loop runs along memory.
 * `matrix` [n, n] is row-major; its lower half is read. Throws RangeError when a value is not finite.
 */
export function symmetricEigen(matrix: Float64Array, n: number): EigenSystem {
  if (!matrix.every(Number.isFinite)) throw new RangeError('symmetricEigen: the matrix holds values that are not finite');
  const { diagonal, below, reflectors, factors } = tridiagonalize(matrix.slice(), n);
  const rows = reflectedRows({ reflectors, factors, n });
  quietRotations({ diagonal, below, rows, n });
  return sorted(diagonal, rows, n);
}

interface Tridiagonal {
  readonly diagonal: Float64Array;
  /** below[i] stands in row i + 1, column i; the last is 0. */
  readonly below: Float64Array;
  /** [n, n]: row k holds v of H_k = I - factor_k v v^T, zero up to column k. */
  readonly reflectors: Float64Array;
  readonly factors: Float64Array;
}

/** T = H_{n-3} ... H_0 A H_0 ... H_{n-3}; overwrites `a`. */
function tridiagonalize(a: Float64Array, n: number): Tridiagonal {
  const reflectors = new Float64Array(n * n);
  const factors = new Float64Array(n);
  const below = new Float64Array(n);
  const product = new Float64Array(n);
  for (let k = 0; k < n - 1; k += 1) {
    const v = reflectors.subarray(k * n, (k + 1) * n);
    for (let i = k + 1; i < n; i += 1) v[i] = at(a, i * n + k);
    const { factor, alpha } = reflector(v, k + 1);
    below[k] = alpha;
    factors[k] = factor;
    if (factor === 0) continue;
    trailingProduct({ a, v, n, from: k + 1, into: product });
    // w = factor A v - (factor^2 / 2) (v^T A v) v, then A - v w^T - w v^T.
    let vAv = 0;
    for (let i = k + 1; i < n; i += 1) vAv += at(product, i) * at(v, i);
    const half = (factor * factor * vAv) / 2;
    for (let i = k + 1; i < n; i += 1) product[i] = factor * at(product, i) - half * at(v, i);
    for (let i = k + 1; i < n; i += 1) {
      const [vi, wi, row] = [at(v, i), at(product, i), i * n];
      for (let j = k + 1; j <= i; j += 1) a[row + j] = at(a, row + j) - vi * at(product, j) - wi * at(v, j);
    }
  }
  return { diagonal: Float64Array.from({ length: n }, (_, i) => at(a, i * n + i)), below, reflectors, factors };
}

/** Overwrites x[from..] with v so that (I - factor v v^T) x = alpha e_from, |alpha| = |x|. */
function reflector(x: Float64Array, from: number): { factor: number; alpha: number } {
  let tail = 0;
  for (let i = from + 1; i < x.length; i += 1) tail += at(x, i) ** 2;
  const head = at(x, from);
  if (tail === 0) {
    x.fill(0, from);
    return { factor: 0, alpha: head };
  }
  const alpha = head > 0 ? -Math.sqrt(head * head + tail) : Math.sqrt(head * head + tail);
  x[from] = head - alpha;
  return { factor: 2 / (at(x, from) ** 2 + tail), alpha };
}

/** into = A v over the trailing rows and columns, of which `a` has the lower half. */
function trailingProduct({ a, v, n, from, into }: { a: Float64Array; v: Float64Array; n: number; from: number; into: Float64Array }): void {
  into.fill(0, from);
  for (let i = from; i < n; i += 1) {
    const [row, vi] = [i * n, at(v, i)];
    let sum = at(a, row + i) * vi;
    for (let j = from; j < i; j += 1) {
      const value = at(a, row + j);
      sum += value * at(v, j);
      into[j] = at(into, j) + value * vi;
    }
    into[i] = at(into, i) + sum;
  }
}

/** Rows of Q^T for Q = H_0 ... H_{n-2}. */
function reflectedRows({ reflectors, factors, n }: { reflectors: Float64Array; factors: Float64Array; n: number }): Float64Array {
  const rows = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) rows[i * n + i] = 1;
  for (let k = n - 2; k >= 0; k -= 1) {
    const factor = at(factors, k);
    if (factor === 0) continue;
    for (let i = k + 1; i < n; i += 1) {
      let sum = 0;
      for (let j = k + 1; j < n; j += 1) sum += at(rows, i * n + j) * at(reflectors, k * n + j);
      sum *= factor;
      for (let j = k + 1; j < n; j += 1) rows[i * n + j] = at(rows, i * n + j) - sum * at(reflectors, k * n + j);
    }
  }
  return rows;
}

interface Rotated {
  readonly diagonal: Float64Array;
  readonly below: Float64Array;
  readonly rows: Float64Array;
  readonly n: number;
}

const SWEEPS_MAX = 60;

/**
 * QL with implicit shifts until every subdiagonal value is rounding of the largest; `diagonal` then holds the eigenvalues. Measured
 * against its neighbours alone, a value between two that are rounding themselves may never become small.
 */
function quietRotations(state: Rotated): void {
  const { diagonal, below, n } = state;
  const size = diagonal.reduce((most, value, i) => Math.max(most, Math.abs(value) + Math.abs(at(below, i))), 0);
  for (let low = 0; low < n; low += 1) {
    for (let sweep = 0; ; sweep += 1) {
      let high = low;
      while (high < n - 1 && Math.abs(at(below, high)) > Number.EPSILON * size) high += 1;
      if (high === low) break;
      if (sweep === SWEEPS_MAX) throw new RangeError('symmetricEigen: the QL steps do not converge');
      qlStep(state, low, high);
    }
  }
}

/** One step over the unreduced block low..high. */
function qlStep({ diagonal, below, rows, n }: Rotated, low: number, high: number): void {
  // Wilkinson's shift: the eigenvalue of the leading 2 x 2 block that is closer to its first entry.
  const difference = (at(diagonal, low + 1) - at(diagonal, low)) / (2 * at(below, low));
  const root = Math.hypot(difference, 1);
  let g = at(diagonal, high) - at(diagonal, low) + at(below, low) / (difference + (difference < 0 ? -root : root));
  let [sine, cosine, p] = [1, 1, 0];
  for (let i = high - 1; i >= low; i -= 1) {
    const f = sine * at(below, i);
    const b = cosine * at(below, i);
    const radius = Math.hypot(f, g);
    below[i + 1] = radius;
    if (radius === 0) {
      // The block splits here.
      diagonal[i + 1] = at(diagonal, i + 1) - p;
      below[high] = 0;
      return;
    }
    sine = f / radius;
    cosine = g / radius;
    g = at(diagonal, i + 1) - p;
    const r = (at(diagonal, i) - g) * sine + 2 * cosine * b;
    p = sine * r;
    diagonal[i + 1] = g + p;
    g = cosine * r - b;
    rotateRows(rows, { first: i * n, second: (i + 1) * n, n, sine, cosine });
  }
  diagonal[low] = at(diagonal, low) - p;
  below[low] = g;
  below[high] = 0;
}

interface Rotation {
  readonly first: number;
  readonly second: number;
  readonly n: number;
  readonly sine: number;
  readonly cosine: number;
}

function rotateRows(rows: Float64Array, { first, second, n, sine, cosine }: Rotation): void {
  for (let j = 0; j < n; j += 1) {
    const [a, b] = [at(rows, first + j), at(rows, second + j)];
    rows[second + j] = sine * a + cosine * b;
    rows[first + j] = cosine * a - sine * b;
  }
}

function sorted(diagonal: Float64Array, rows: Float64Array, n: number): EigenSystem {
  const order = Array.from(diagonal.keys()).sort((a, b) => at(diagonal, b) - at(diagonal, a));
  const vectors = new Float64Array(n * n);
  for (const [to, from] of order.entries()) vectors.set(rows.subarray(from * n, (from + 1) * n), to * n);
  return { values: Float64Array.from(order, (index) => at(diagonal, index)), vectors };
}

function at(values: Float64Array, index: number): number {
  return values[index] ?? 0;
}
