/** Symmetric positive definite matrices for the tests of what works on normal equations. */
import { float32Values } from '../../../../services/engine/ir/index.js';
import { noise } from './method-fixtures.js';

/** X^T X + ridge I for random X. */
export function randomGram(n: number, rows: number, { seed, ridge = 0.01 }: { seed: number; ridge?: number }): Float64Array {
  const x = float32Values(noise([rows, n], seed));
  const h = new Float64Array(n * n);
  for (let i = 0; i < n; i += 1) {
    for (let j = 0; j < n; j += 1) {
      let sum = i === j ? ridge : 0;
      for (let r = 0; r < rows; r += 1) sum += (x[r * n + i] ?? 0) * (x[r * n + j] ?? 0);
      h[i * n + j] = sum;
    }
  }
  return h;
}
