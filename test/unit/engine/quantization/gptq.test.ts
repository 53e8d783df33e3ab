import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { choleskyInverseUpper, quadraticForm } from '../../../../services/engine/normal-equations/linear-algebra.js';
import { type GptqColumns, gptqRound } from '../../../../services/engine/quantization/gptq.js';
import { noise } from './method-fixtures.js';
import { randomGram } from './random-gram.js';

const SCALE = 0.25;
const toGrid = (value: number): { code: number; value: number } => {
  const code = Math.max(-4, Math.min(3, Math.round(value / SCALE))) + 0;
  return { code, value: code * SCALE };
};

function problem({ rows, depth, seed, actOrder = false }: { rows: number; depth: number; seed: number; actOrder?: boolean }): GptqColumns {
  const hessian = randomGram(depth, 2 * depth, { seed, ridge: 0 });
  return { rows, depth, weights: float32Values(noise([rows, depth], seed + 1)), hessian, actOrder, quantize: toGrid };
}

/** The method as the paper states it, one column after the other over the whole matrix, without blocks. */
function plainGptq({ rows, depth, weights, hessian, actOrder }: GptqColumns): number[] {
  const order = [...Array(depth).keys()];
  if (actOrder) order.sort((a, b) => (hessian[b * depth + b] ?? 0) - (hessian[a * depth + a] ?? 0));
  const damped = new Float64Array(depth * depth);
  const trace = order.reduce((sum, k) => sum + (hessian[k * depth + k] ?? 0), 0);
  for (const [i, row] of order.entries()) {
    for (const [j, column] of order.entries()) {
      damped[i * depth + j] = (hessian[row * depth + column] ?? 0) + (i === j ? (0.01 * trace) / depth : 0);
    }
  }
  const u = choleskyInverseUpper(damped, depth) ?? new Float64Array();
  const codes: number[] = Array(rows * depth).fill(0);
  for (let row = 0; row < rows; row += 1) {
    const w = order.map((k) => weights[row * depth + k] ?? 0);
    for (const [j, k] of order.entries()) {
      const { code, value } = toGrid(w[j] ?? 0);
      codes[row * depth + k] = code;
      const error = ((w[j] ?? 0) - value) / (u[j * depth + j] ?? 1);
      for (let rest = j + 1; rest < depth; rest += 1) w[rest] = (w[rest] ?? 0) - error * (u[j * depth + rest] ?? 0);
    }
  }
  return codes;
}

function loss({ rows, depth, weights, hessian }: GptqColumns, codes: ArrayLike<number>): number {
  const errors = Float64Array.from(weights, (weight, at) => (codes[at] ?? 0) * SCALE - weight);
  return Array.from({ length: rows }, (_, row) => quadraticForm(hessian, errors, depth, row * depth)).reduce((a, b) => a + b, 0);
}

describe('gptqRound', () => {
  it('gives the codes of the method without blocks, below, at and above the size of a block, in both orders', () => {
    const sizes = fc.constantFrom(1, 5, 127, 128, 129, 200);
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 4 }), fc.boolean(), fc.nat(500), (depth, rows, actOrder, seed) => {
        const columns = problem({ rows, depth, seed, actOrder });
        expect([...gptqRound(columns)]).toEqual(plainGptq(columns));
      }),
      { numRuns: 12 },
    );
  });

  it('leaves less error in the products than rounding to nearest', () => {
    for (const actOrder of [false, true]) {
      const columns = problem({ rows: 8, depth: 96, seed: 7, actOrder });
      const nearest = Array.from(columns.weights, (weight) => toGrid(weight).code);
      expect(loss(columns, gptqRound(columns))).toBeLessThan(0.85 * loss(columns, nearest));
    }
  });

  it('rounds to nearest where an input is always 0, and passes nothing on from there', () => {
    const depth = 6;
    const hessian = randomGram(depth, 12, { seed: 1, ridge: 0 });
    for (let k = 0; k < depth; k += 1) hessian[2 * depth + k] = hessian[k * depth + 2] = 0;
    const weights = float32Values(noise([1, depth], 2));
    const codes = gptqRound({ rows: 1, depth, weights, hessian, quantize: toGrid });
    expect(codes[2]).toBe(toGrid(weights[2] ?? 0).code);
    const moved = weights.slice();
    moved[2] = -(weights[2] ?? 0);
    const again = gptqRound({ rows: 1, depth, weights: moved, hessian, quantize: toGrid });
    expect([...again].filter((_, k) => k !== 2)).toEqual([...codes].filter((_, k) => k !== 2));
  });

  it('survives matrices that are not positive definite, empty or not finite', () => {
    const weights = float32Values(noise([2, 3], 2));
    const nearest = Array.from(weights, (weight) => toGrid(weight).code);
    const rounded = (hessian: Float64Array): number[] => [...gptqRound({ rows: 2, depth: 3, weights, hessian, quantize: toGrid })];
    expect(rounded(new Float64Array(9))).toEqual(nearest);
    expect(rounded(new Float64Array(9).fill(Number.NaN))).toEqual(nearest);
    expect(rounded(Float64Array.of(1, 3, 0, 3, 1, 0, 0, 0, 1))).toHaveLength(6);
    expect(rounded(new Float64Array(9).fill(1))).toHaveLength(6);
  });
});
