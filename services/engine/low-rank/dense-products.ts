/** Products of dense row-major matrices in float64; the inner loops run along memory, four rows at a time. */

export interface ProductShape {
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
}

/** A B for A [rows, inner], B [inner, columns]. */
export function product(a: ArrayLike<number>, b: ArrayLike<number>, { rows, inner, columns }: ProductShape): Float64Array {
  const result = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i += 1) {
    const into = i * columns;
    let k = 0;
    for (; k + 3 < inner; k += 4) {
      const [a0, a1, a2, a3] = [at(a, i * inner + k), at(a, i * inner + k + 1), at(a, i * inner + k + 2), at(a, i * inner + k + 3)];
      const from = k * columns;
      for (let j = 0; j < columns; j += 1) {
        const sum = a0 * at(b, from + j) + a1 * at(b, from + columns + j);
        result[into + j] = at(result, into + j) + sum + a2 * at(b, from + 2 * columns + j) + a3 * at(b, from + 3 * columns + j);
      }
    }
    for (; k < inner; k += 1) {
      const value = at(a, i * inner + k);
      for (let j = 0; j < columns; j += 1) result[into + j] = at(result, into + j) + value * at(b, k * columns + j);
    }
  }
  return result;
}

/** A B^T for A [rows, inner], B [columns, inner]. */
export function productOfRows(a: ArrayLike<number>, b: ArrayLike<number>, { rows, inner, columns }: ProductShape): Float64Array {
  return product(a, transposed(b, columns, inner), { rows, inner, columns });
}

/** [columns, rows] of a matrix [rows, columns]. */
export function transposed(a: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const result = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i += 1) for (let j = 0; j < columns; j += 1) result[j * rows + i] = at(a, i * columns + j);
  return result;
}

/** sum_i a_i b_i: the trace of A^T B. */
export function innerProduct(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += at(a, i) * at(b, i);
  return sum;
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? 0;
}
