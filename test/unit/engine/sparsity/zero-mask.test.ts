import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { float32Values } from '../../../../services/engine/ir/index.js';
import {
  columnPieces,
  type Pattern,
  type PatternMatrix,
  parsePattern,
  piecesOf,
  rowPieces,
  unitCount,
} from '../../../../services/engine/sparsity/pattern.js';
import { quotas } from '../../../../services/engine/sparsity/quotas.js';
import { chooseZeros } from '../../../../services/engine/sparsity/zero-mask.js';
import { noise } from '../quantization/method-fixtures.js';

const matrices = fc
  .record({
    runs: fc.integer({ min: 1, max: 3 }),
    rowRun: fc.integer({ min: 1, max: 6 }),
    taps: fc.integer({ min: 1, max: 4 }),
    inputs: fc.integer({ min: 1, max: 11 }),
  })
  .map(({ runs, rowRun, taps, inputs }): PatternMatrix => ({ rows: runs * rowRun, rowRun, inputs, depth: taps * inputs }));
const fractions = fc.double({ min: 0, max: 1, noNaN: true });

function scoresFor({ rows, depth }: PatternMatrix, seed: number): Float32Array {
  return float32Values(noise([rows, depth], seed)).map(Math.abs);
}

function sum(values: ArrayLike<number>): number {
  return Array.from(values).reduce((a, b) => a + b, 0);
}

describe('unstructured zeros', () => {
  const pattern: Pattern = { kind: 'unstructured' };

  it('are the smallest of the whole matrix, in the rounded number', () => {
    fc.assert(
      fc.property(matrices, fractions, fc.nat(999), (matrix, fraction, seed) => {
        const scores = scoresFor(matrix, seed);
        const zeros = chooseZeros(scores, matrix, { pattern, fraction, compare: 'matrix' });
        expect(sum(zeros)).toBe(Math.round(fraction * scores.length));
        const largestZero = Math.max(-1, ...scores.filter((_, at) => zeros[at] === 1));
        const smallestKept = Math.min(2, ...scores.filter((_, at) => zeros[at] === 0));
        expect(largestZero).toBeLessThanOrEqual(smallestKept);
      }),
    );
  });

  it('compared within outputs, differ by at most one between them and add up to the rounded number', () => {
    fc.assert(
      fc.property(matrices, fractions, fc.nat(999), (matrix, fraction, seed) => {
        const scores = scoresFor(matrix, seed);
        const zeros = chooseZeros(scores, matrix, { pattern, fraction, compare: 'output' });
        expect(sum(zeros)).toBe(Math.round(fraction * scores.length));
        for (let row = 0; row < matrix.rows; row += 1) {
          const own = zeros.subarray(row * matrix.depth, (row + 1) * matrix.depth);
          expect(Math.abs(sum(own) - fraction * matrix.depth)).toBeLessThanOrEqual(1 + 1e-9);
          const of = scores.subarray(row * matrix.depth, (row + 1) * matrix.depth);
          expect(Math.max(-1, ...of.filter((_, at) => own[at] === 1))).toBeLessThanOrEqual(
            Math.min(2, ...of.filter((_, at) => own[at] === 0)),
          );
        }
      }),
    );
  });

  it('count those that are zero already, within outputs, too', () => {
    fc.assert(
      fc.property(matrices, fractions, fractions, fc.nat(999), (matrix, one, other, seed) => {
        const [less, more] = [Math.min(one, other), Math.max(one, other)];
        const scores = scoresFor(matrix, seed);
        for (const compare of ['matrix', 'output'] as const) {
          const first = chooseZeros(scores, matrix, { pattern, fraction: less, compare });
          const rest = scores.map((score, at) => (first[at] === 1 ? 0 : Math.max(score, 2 ** -149)));
          const second = chooseZeros(rest, matrix, { pattern, fraction: more, compare });
          expect(sum(second)).toBe(Math.round(more * scores.length));
          expect(second.every((zero, at) => zero >= (first[at] ?? 0))).toBe(true);
        }
      }),
    );
  });
});

describe('quotas', () => {
  const parts = fc.array(
    fc.nat(20).chain((units) => fc.record({ units: fc.constant(units), zeros: fc.nat(units) })),
    { minLength: 1, maxLength: 8 },
  );

  it('give the rounded fraction in all, each part at least the zeros that it has and at most what it is', () => {
    fc.assert(
      fc.property(parts, fractions, (given, fraction) => {
        const counts = quotas(given, fraction);
        const all = given.reduce((total, { units }) => total + units, 0);
        const zeros = given.reduce((total, each) => total + each.zeros, 0);
        expect(sum(counts)).toBe(Math.max(zeros, Math.round(fraction * all)));
        for (const [at, { units, zeros: own }] of given.entries()) {
          expect(counts[at]).toBeGreaterThanOrEqual(own);
          expect(counts[at]).toBeLessThanOrEqual(units);
        }
      }),
    );
  });

  it('are the fraction of each part, up to one, where nothing is zero yet', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20), { minLength: 1 }), fractions, (sizes, fraction) => {
        const counts = quotas(
          sizes.map((units) => ({ units, zeros: 0 })),
          fraction,
        );
        for (const [at, units] of sizes.entries()) expect(Math.abs((counts[at] ?? 0) - fraction * units)).toBeLessThanOrEqual(1 + 1e-9);
      }),
    );
  });
});

describe('N:M', () => {
  const ratios = fc
    .integer({ min: 2, max: 8 })
    .chain((group) => fc.record({ group: fc.constant(group), kept: fc.integer({ min: 1, max: group - 1 }) }));

  it('keeps the N largest of each group of M consecutive inputs, of each position of a kernel anew', () => {
    fc.assert(
      fc.property(matrices, ratios, fc.nat(999), (matrix, { kept, group }, seed) => {
        const scores = scoresFor(matrix, seed);
        const zeros = chooseZeros(scores, matrix, { pattern: { kind: 'n:m', kept, group }, fraction: 1, compare: 'matrix' });
        for (let row = 0; row < matrix.rows; row += 1) {
          for (let tap = 0; tap < matrix.depth / matrix.inputs; tap += 1) {
            for (let input = 0; input < matrix.inputs; input += group) {
              const start = row * matrix.depth + tap * matrix.inputs + input;
              const end = start + Math.min(group, matrix.inputs - input);
              const stay = [...zeros.subarray(start, end)].filter((zero) => zero === 0).length;
              expect(stay).toBe(Math.min(kept, end - start));
              const largest = [...scores.subarray(start, end)].sort((a, b) => b - a).slice(0, kept);
              const of = [...scores.subarray(start, end)].filter((_, at) => zeros[start + at] === 0).sort((a, b) => b - a);
              expect(of).toEqual(largest);
            }
          }
        }
        expect(sum(zeros)).toBe(unitCount({ kind: 'n:m', kept, group }, matrix));
      }),
    );
  });
});

describe('blocks', () => {
  it('are zero or untouched as a whole, in the rounded number, those of the least energy', () => {
    const sizes = fc.record({ rows: fc.integer({ min: 1, max: 4 }), columns: fc.integer({ min: 1, max: 4 }) });
    fc.assert(
      fc.property(matrices, sizes, fractions, fc.nat(999), (matrix, size, fraction, seed) => {
        const pattern: Pattern = { kind: 'block', ...size };
        const scores = scoresFor(matrix, seed);
        const zeros = chooseZeros(scores, matrix, { pattern, fraction, compare: 'matrix' });
        const energies: { readonly isZero: boolean; readonly energy: number }[] = [];
        for (const down of rowPieces(pattern, matrix)) {
          for (const across of columnPieces(pattern, matrix)) {
            const at: number[] = [];
            for (let row = down.start; row < down.end; row += 1)
              for (let column = across.start; column < across.end; column += 1) at.push(row * matrix.depth + column);
            const marks = new Set(at.map((each) => zeros[each]));
            expect(marks.size).toBe(1);
            energies.push({ isZero: marks.has(1), energy: sum(at.map((each) => (scores[each] ?? 0) ** 2)) / at.length });
          }
        }
        expect(energies.filter(({ isZero }) => isZero).length).toBe(Math.round(fraction * unitCount(pattern, matrix)));
        const largestZero = Math.max(0, ...energies.filter(({ isZero }) => isZero).map(({ energy }) => energy));
        const smallestKept = Math.min(1, ...energies.filter(({ isZero }) => !isZero).map(({ energy }) => energy));
        expect(largestZero).toBeLessThanOrEqual(smallestKept * (1 + 1e-6));
      }),
    );
  });

  it('of one weight are unstructured zeros', () => {
    fc.assert(
      fc.property(matrices, fractions, fc.nat(999), (matrix, fraction, seed) => {
        const scores = scoresFor(matrix, seed);
        const blocks = chooseZeros(scores, matrix, { pattern: { kind: 'block', rows: 1, columns: 1 }, fraction, compare: 'output' });
        const free = chooseZeros(scores, matrix, { pattern: { kind: 'unstructured' }, fraction, compare: 'output' });
        expect([...blocks]).toEqual([...free]);
      }),
    );
  });
});

describe('patterns', () => {
  it('begin anew after every run', () => {
    expect(piecesOf(10, 5, 4).map(({ start, end }) => [start, end])).toEqual([
      [0, 4],
      [4, 5],
      [5, 9],
      [9, 10],
    ]);
  });

  it('are read from the recipe, and what is none is refused with what to write instead', () => {
    expect(parsePattern()).toEqual({ kind: 'unstructured' });
    expect(parsePattern('1:4')).toEqual({ kind: 'n:m', kept: 1, group: 4 });
    expect(parsePattern([4, 1])).toEqual({ kind: 'block', rows: 4, columns: 1 });
    for (const wrong of ['4:4', '5:4', '0:4', '2-4', 'blocks', '2:4 '])
      expect(() => parsePattern(wrong)).toThrow(/use "unstructured", N:M/);
    for (const wrong of [
      [0, 4],
      [1.5, 2],
    ] as const)
      expect(() => parsePattern(wrong)).toThrow(/two whole numbers/);
  });
});
