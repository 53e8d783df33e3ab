import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import { columnPieces, type Pattern, type PatternMatrix, rowPieces } from '../../../../services/engine/sparsity/pattern.js';
import { sparseGpt } from '../../../../services/engine/sparsity/sparse-gpt.js';
import { noise } from '../quantization/method-fixtures.js';
import { correlatedInputs, gramOf, outputError } from './correlated-inputs.js';

/** The inverse by Gauss-Jordan elimination with pivots. */
function inverse(matrix: readonly (readonly number[])[]): number[][] {
  const n = matrix.length;
  const work = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))]);
  for (let column = 0; column < n; column += 1) {
    let pivot = column;
    for (let row = column; row < n; row += 1) if (Math.abs(work[row]?.[column] ?? 0) > Math.abs(work[pivot]?.[column] ?? 0)) pivot = row;
    [work[column], work[pivot]] = [work[pivot] ?? [], work[column] ?? []];
    const own = work[column] ?? [];
    const by = own[column] ?? 1;
    for (let k = 0; k < 2 * n; k += 1) own[k] = (own[k] ?? 0) / by;
    for (const [row, other] of work.entries()) {
      const factor = other[column] ?? 0;
      if (row !== column && factor !== 0) for (let k = 0; k < 2 * n; k += 1) other[k] = (other[k] ?? 0) - factor * (own[k] ?? 0);
    }
  }
  return work.map((row) => row.slice(n));
}

interface Problem {
  readonly matrix: PatternMatrix;
  readonly weights: Float64Array;
  readonly hessian: Float64Array;
  readonly pattern: Pattern;
  readonly fraction: number;
}

/**
 * The method by its definition (optimal brain surgeon, column after column): the inverse of what is left of the damped H is
 * computed anew for each column; no Cholesky factor, no lazy updates. [H_F^-1]_jj of the columns F from j on is U_jj^2.
 */
function bySurgeon({ matrix, weights, hessian, pattern, fraction }: Problem): number[][] {
  const { rows, depth } = matrix;
  const trace = Array.from({ length: depth }, (_, k) => hessian[k * depth + k] ?? 0).reduce((a, b) => a + b, 0);
  const damped = Array.from({ length: depth }, (_, i) =>
    Array.from({ length: depth }, (_, j) => (hessian[i * depth + j] ?? 0) + (i === j ? (0.01 * trace) / depth : 0)),
  );
  const first = Array.from({ length: depth }, (_, j) => inverse(damped.slice(j).map((row) => row.slice(j)))[0] ?? []);
  const w = Array.from({ length: rows }, (_, row) => [...weights.subarray(row * depth, (row + 1) * depth)]);
  const zeros = w.map((row) => row.map((value) => value === 0));
  const cost = (row: number, j: number): number => (zeros[row]?.[j] ? -1 : (w[row]?.[j] ?? 0) ** 2 / (first[j]?.[0] ?? 1));
  const mark = (row: number, j: number): void => {
    const own = zeros[row];
    if (own) own[j] = true;
  };
  const pieces = columnPieces(pattern, matrix);
  const edges = [0];
  for (const { start } of pieces) if (start - (edges.at(-1) ?? 0) >= 128) edges.push(start);
  let decided = 0;
  for (let j = 0; j < depth; j += 1) {
    if (pattern.kind !== 'n:m' && edges.includes(j)) {
      const end = edges.find((edge) => edge > j) ?? depth;
      const cells = rowPieces(pattern, matrix).flatMap((down) =>
        pieces.filter(({ start }) => start >= j && start < end).map((across) => ({ down, across })),
      );
      const costs = cells.map(({ down, across }) => {
        const each: number[] = [];
        for (let row = down.start; row < down.end; row += 1)
          for (let k = across.start; k < across.end; k += 1) each.push(Math.max(0, cost(row, k)));
        return each.reduce((a, b) => a + b, 0) / each.length;
      });
      const count = Math.round(fraction * (decided + cells.length)) - Math.round(fraction * decided);
      decided += cells.length;
      const order = cells.map((_, at) => at).sort((a, b) => (costs[a] ?? 0) - (costs[b] ?? 0));
      for (const at of order.slice(0, count)) {
        const { down, across } = cells[at] ?? { down: { start: 0, end: 0 }, across: { start: 0, end: 0 } };
        for (let row = down.start; row < down.end; row += 1) for (let k = across.start; k < across.end; k += 1) mark(row, k);
      }
    }
    for (let row = 0; row < rows; row += 1) {
      const group = pattern.kind === 'n:m' ? pieces.find(({ start }) => start === j) : undefined;
      if (group && pattern.kind === 'n:m') {
        const columns = Array.from({ length: group.end - group.start }, (_, at) => group.start + at);
        const count = Math.round(fraction * Math.max(0, columns.length - pattern.kept));
        for (const k of columns.sort((a, b) => cost(row, a) - cost(row, b)).slice(0, count)) mark(row, k);
      }
      if (!zeros[row]?.[j]) continue;
      const own = w[row] ?? [];
      const value = own[j] ?? 0;
      for (let k = j; k < depth; k += 1) own[k] = (own[k] ?? 0) - (value * (first[j]?.[k - j] ?? 0)) / (first[j]?.[0] ?? 1);
      own[j] = 0;
    }
  }
  return w;
}

const patterns = fc.oneof(
  fc.constant<Pattern>({ kind: 'unstructured' }),
  fc.constantFrom<Pattern>({ kind: 'n:m', kept: 2, group: 4 }, { kind: 'n:m', kept: 1, group: 3 }, { kind: 'n:m', kept: 5, group: 8 }),
  fc.constantFrom<Pattern>(
    { kind: 'block', rows: 2, columns: 3 },
    { kind: 'block', rows: 4, columns: 1 },
    { kind: 'block', rows: 1, columns: 4 },
  ),
);

const problems = fc
  .record({
    rows: fc.integer({ min: 1, max: 7 }),
    taps: fc.integer({ min: 1, max: 3 }),
    inputs: fc.integer({ min: 1, max: 9 }),
    pattern: patterns,
    fraction: fc.constantFrom(0.25, 0.5, 0.7, 1),
    seed: fc.nat(9999),
  })
  .map(({ rows, taps, inputs, pattern, fraction, seed }): Problem => {
    const depth = taps * inputs;
    const matrix = { rows, rowRun: rows, inputs, depth };
    const hessian = gramOf(correlatedInputs({ count: 3 * depth, depth, seed }), depth);
    return { matrix, weights: Float64Array.from(float32Values(noise([rows, depth], seed + 7))), hessian, pattern, fraction };
  });

function pruned({ matrix, weights, hessian, pattern, fraction }: Problem): Float64Array {
  const result = weights.slice();
  sparseGpt({ matrix, weights: result, hessian, rule: { pattern, fraction } });
  return result;
}

function expectAlike(actual: Float64Array, expected: readonly (readonly number[])[]): void {
  for (const [at, value] of expected.flat().entries()) {
    expect(Math.abs((actual[at] ?? Number.NaN) - value)).toBeLessThan(1e-9);
    expect(actual[at] === 0).toBe(value === 0);
  }
}

describe('sparseGpt', () => {
  it('is optimal brain surgery column after column, in every pattern', () => {
    fc.assert(
      fc.property(problems, (problem) => expectAlike(pruned(problem), bySurgeon(problem))),
      { numRuns: 150 },
    );
  });

  it('is the same over several blocks of columns, at whose edges no group is cut', () => {
    const depth = 145;
    const hessian = gramOf(correlatedInputs({ count: 200, depth, seed: 3 }), depth);
    const weights = Float64Array.from(float32Values(noise([3, depth], 4)));
    for (const pattern of [{ kind: 'unstructured' }, { kind: 'n:m', kept: 2, group: 5 }, { kind: 'block', rows: 3, columns: 5 }] as const) {
      const problem = {
        matrix: { rows: 3, rowRun: 3, inputs: depth, depth },
        weights,
        hessian,
        pattern,
        fraction: pattern.kind === 'n:m' ? 1 : 0.6,
      };
      expectAlike(pruned(problem), bySurgeon(problem));
    }
  }, 20_000);

  it('keeps what is zero already, and counts it', () => {
    fc.assert(
      fc.property(problems, fc.array(fc.nat(62), { minLength: 1, maxLength: 12 }), (problem, at) => {
        const weights = problem.weights.slice();
        for (const each of at) weights[each % weights.length] = 0;
        const result = pruned({ ...problem, weights });
        for (const [each, value] of weights.entries()) if (value === 0) expect(result[each]).toBe(0);
        if (problem.pattern.kind === 'unstructured') {
          const before = weights.filter((value) => value === 0).length;
          const after = result.filter((value) => value === 0).length;
          expect(after).toBe(Math.max(before, Math.round(problem.fraction * weights.length)));
        }
        expectAlike(result, bySurgeon({ ...problem, weights }));
      }),
      { numRuns: 60 },
    );
  });

  it('leaves less error in the outputs than setting the same weights to zero', () => {
    fc.assert(
      fc.property(fc.nat(500), patterns, (seed, pattern) => {
        const depth = 24;
        const inputs = correlatedInputs({ count: 120, depth, seed });
        const weights = Float64Array.from(float32Values(noise([8, depth], seed + 9)));
        const matrix = { rows: 8, rowRun: 8, inputs: depth, depth };
        const result = pruned({ matrix, weights, hessian: gramOf(inputs, depth), pattern, fraction: pattern.kind === 'n:m' ? 1 : 0.5 });
        const masked = weights.map((value, at) => (result[at] === 0 ? 0 : value));
        expect(outputError(inputs, weights, result, depth)).toBeLessThan(outputError(inputs, weights, masked, depth));
      }),
      { numRuns: 40 },
    );
  });

  it('prunes by magnitude and moves nothing where the inputs are not finite numbers', () => {
    const weights = Float64Array.of(3, -1, 2, 0.5);
    const result = pruned({
      matrix: { rows: 1, rowRun: 1, inputs: 4, depth: 4 },
      weights,
      hessian: new Float64Array(16).fill(Number.NaN),
      pattern: { kind: 'unstructured' },
      fraction: 0.5,
    });
    expect([...result]).toEqual([3, 0, 2, 0]);
  });
});
