/** Plain loops over matrices: what the tests of low rank are checked against. */
import fc from 'fast-check';

/** Numbers in [-1, 1), the same for the same seed. */
export function randomMatrix(rows: number, columns: number, seed: number): Float64Array {
  let state = (Math.imul(seed + 1, 2_654_435_761) + 97) >>> 0;
  return Float64Array.from({ length: rows * columns }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** A [rows, inner] times B [inner, columns]. */
export function times(a: ArrayLike<number>, b: ArrayLike<number>, [rows, inner, columns]: readonly [number, number, number]): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, at) => {
    const [row, column] = [Math.floor(at / columns), at % columns];
    let sum = 0;
    for (let k = 0; k < inner; k += 1) sum += (a[row * inner + k] ?? 0) * (b[k * columns + column] ?? 0);
    return sum;
  });
}

export function flipped(a: ArrayLike<number>, rows: number, columns: number): Float64Array {
  return Float64Array.from({ length: rows * columns }, (_, at) => a[(at % rows) * columns + Math.floor(at / rows)] ?? 0);
}

export function squares(values: ArrayLike<number>): number {
  return Array.from(values).reduce((sum, value) => sum + value * value, 0);
}

export function difference(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  return Float64Array.from(a, (value, at) => value - (b[at] ?? Number.NaN));
}

/** X X^T of inputs [depth, count] whose directions have very different sizes: small ones are what low rank can drop. */
export function correlatedInputs(depth: number, count: number, seed: number): Float64Array {
  const mixing = randomMatrix(depth, depth, seed);
  const sources = randomMatrix(depth, count, seed + 1).map((value, at) => value * 0.7 ** Math.floor(at / count));
  return times(mixing, sources, [depth, depth, count]);
}

export const matrixCase = fc.record({
  channels: fc.integer({ min: 2, max: 24 }),
  depth: fc.integer({ min: 2, max: 24 }),
  seed: fc.nat(100_000),
});
