import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { quadraticForm } from '../../../../services/engine/normal-equations/linear-algebra.js';
import { adaroundRound } from '../../../../services/engine/quantization/adaround.js';
import { gptqRound } from '../../../../services/engine/quantization/gptq.js';
import { noise } from './method-fixtures.js';
import { randomGram } from './random-gram.js';

const SCALE = 0.3;
const LOW = -4;
const HIGH = 3;
const clamp = (code: number): number => Math.max(LOW, Math.min(HIGH, code));

interface Problem {
  readonly rows: number;
  readonly depth: number;
  readonly seed: number;
}

function columnsFor({ rows, depth, seed }: Problem) {
  return {
    rows,
    depth,
    weights: float32Values(noise([rows, depth], seed)),
    hessian: randomGram(depth, depth + 3, { seed: seed + 1, ridge: 0 }),
    damping: 0,
    low: LOW,
    high: HIGH,
    value: (code: number): number => code * SCALE,
    quantize(value: number) {
      const code = clamp(Math.round(value / SCALE)) + 0;
      return { code, value: code * SCALE };
    },
  };
}

/** Loss of one row: d^T H d. */
function lossOf(columns: ReturnType<typeof columnsFor>, codes: ArrayLike<number>, row: number): number {
  const { depth, weights, hessian } = columns;
  const errors = Float64Array.from({ length: depth }, (_, k) => (codes[row * depth + k] ?? 0) * SCALE - (weights[row * depth + k] ?? 0));
  return quadraticForm(hessian, errors, depth);
}

describe('adaroundRound', () => {
  const problems = fc.record({ rows: fc.integer({ min: 1, max: 3 }), depth: fc.integer({ min: 1, max: 12 }), seed: fc.nat(1000) });

  it('ends where no change of one code by one lowers the loss, and never above the start', () => {
    fc.assert(
      fc.property(problems, fc.boolean(), (problem, afterGptq) => {
        const columns = columnsFor(problem);
        const { rows, depth, weights } = columns;
        const start = afterGptq ? gptqRound(columns) : Int32Array.from(weights, (weight) => columns.quantize(weight).code);
        const codes = adaroundRound(afterGptq ? { ...columns, start } : columns);
        for (let row = 0; row < rows; row += 1) {
          const reached = lossOf(columns, codes, row);
          expect(reached).toBeLessThanOrEqual(lossOf(columns, start, row) + 1e-9);
          for (let k = row * depth; k < (row + 1) * depth; k += 1) {
            for (const step of [-1, 1]) {
              const neighbour = codes.slice();
              neighbour[k] = clamp((codes[k] ?? 0) + step);
              expect(lossOf(columns, neighbour, row)).toBeGreaterThanOrEqual(reached - 1e-9);
            }
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('finds on average most of what the best of all roundings up and down gains', () => {
    let [nearest, found, best] = [0, 0, 0];
    for (let seed = 0; seed < 20; seed += 1) {
      const columns = columnsFor({ rows: 1, depth: 9, seed });
      const floors = Array.from(columns.weights, (weight) => clamp(Math.floor(weight / SCALE)));
      const losses = Array.from({ length: 2 ** 9 }, (_, mask) =>
        lossOf(
          columns,
          floors.map((floor, k) => clamp(floor + ((mask >> k) & 1))),
          0,
        ),
      );
      best += Math.min(...losses);
      nearest += lossOf(
        columns,
        Array.from(columns.weights, (weight) => columns.quantize(weight).code),
        0,
      );
      found += lossOf(columns, adaroundRound({ ...columns, start: gptqRound(columns) }), 0);
    }
    expect(nearest - found).toBeGreaterThan(0.7 * (nearest - best));
  });
});
