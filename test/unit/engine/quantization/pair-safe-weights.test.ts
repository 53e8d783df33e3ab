/** Pair-safe weights: never saturating, never worse than plain pair-safe scales, and as good as exhaustive search where that is possible. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { roundWithHessian } from '../../../../services/engine/quantization/hessian-rounding.js';
import { quantizePairSafe } from '../../../../services/engine/quantization/pair-safe-weights.js';
import { canSaturate } from '../../../../services/engine/quantization/saturation.js';
import { quantizeWeights, type WeightMatrix } from '../../../../services/engine/quantization/weight-quantization.js';

const rowMatrix = fc
  .record({ rows: fc.integer({ min: 1, max: 6 }), columns: fc.integer({ min: 1, max: 12 }) })
  .chain(({ rows, columns }) =>
    fc
      .array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns })
      .map((values): WeightMatrix => ({ values: Float32Array.from(values), rows, columns, reductionAxis: 1 })),
  );

interface Codes {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
}

function rowCodes({ codes }: Codes, row: number, columns: number): Int8Array {
  return codes.subarray(row * columns, (row + 1) * columns);
}

function weightedError(matrix: WeightMatrix, { codes, scales }: Codes, importance: Float64Array): number {
  let sum = 0;
  for (const [at, value] of matrix.values.entries()) {
    const scale = scales[scales.length === 1 ? 0 : Math.floor(at / matrix.columns)] ?? Number.NaN;
    sum += (importance[at % matrix.columns] ?? Number.NaN) * (value - scale * (codes[at] ?? 0)) ** 2;
  }
  return sum;
}

/** Numbers that look random and are equal for equal seeds. */
function sequence(seed: number, length: number): Float64Array {
  let state = seed >>> 0;
  return Float64Array.from({ length }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

describe('pair-safe weights', () => {
  it('never saturate, and their weighted error is never above that of plain pair-safe scales', () => {
    fc.assert(
      fc.property(rowMatrix, fc.boolean(), fc.nat(), (matrix, perChannel, seed) => {
        const importance = sequence(seed, matrix.columns).map((value) => value + 1);
        const searched = quantizePairSafe(matrix, { perChannel, importance });
        const plain = quantizeWeights(matrix, { perChannel, pairSafe: true });
        for (let row = 0; row < matrix.rows; row += 1) expect(canSaturate(rowCodes(searched, row, matrix.columns))).toBe(false);
        const [found, bound] = [weightedError(matrix, searched, importance), weightedError(matrix, plain, importance)];
        expect(found).toBeLessThanOrEqual(bound * (1 + 1e-9) + 1e-12);
      }),
    );
  });

  it('splits each pair as well as any codes at that scale can', () => {
    fc.assert(
      fc.property(
        fc.tuple(
          fc.float({ min: Math.fround(0.6), max: 1, noNaN: true }),
          fc.float({ min: Math.fround(0.2), max: 1, noNaN: true }),
          fc.nat(),
        ),
        ([large, small, seed]) => {
          const importance = sequence(seed, 4).map((value) => value + 1.01);
          const matrix: WeightMatrix = { values: Float32Array.of(large, small, -large, -small), rows: 1, columns: 4, reductionAxis: 1 };
          const searched = quantizePairSafe(matrix, { perChannel: true, importance });
          const scale = searched.scales[0] ?? Number.NaN;
          for (const first of [0, 2]) {
            let least = Number.POSITIVE_INFINITY;
            for (let q0 = 0; q0 <= 127; q0 += 1) {
              for (let q1 = 0; q1 <= Math.min(127, 128 - q0); q1 += 1) {
                const error =
                  (importance[first] ?? 0) * (large - scale * q0) ** 2 + (importance[first + 1] ?? 0) * (small - scale * q1) ** 2;
                least = Math.min(least, error);
              }
            }
            const codes = searched.codes;
            const error =
              (importance[first] ?? 0) * (large - scale * Math.abs(codes[first] ?? 0)) ** 2 +
              (importance[first + 1] ?? 0) * (small - scale * Math.abs(codes[first + 1] ?? 0)) ** 2;
            expect(error).toBeLessThanOrEqual(least * (1 + 1e-6) + 1e-12);
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  it('uses the importance of the group that an output channel belongs to', () => {
    const values = Float32Array.from(sequence(11, 64));
    const importance = sequence(12, 32).map((value) => value + 1.01);
    const together = quantizePairSafe({ values, rows: 4, columns: 16, reductionAxis: 1 }, { perChannel: true, importance });
    for (const group of [0, 1]) {
      const alone = quantizePairSafe(
        { values: values.subarray(group * 32, group * 32 + 32), rows: 2, columns: 16, reductionAxis: 1 },
        { perChannel: true, importance: importance.subarray(group * 16, group * 16 + 16) },
      );
      expect(together.codes.subarray(group * 32, group * 32 + 32)).toEqual(alone.codes);
      expect(together.scales.subarray(group * 2, group * 2 + 2)).toEqual(alone.scales);
    }
  });

  it('refuses importance that does not fit the weights', () => {
    const matrix: WeightMatrix = { values: Float32Array.of(1, 2, 3), rows: 1, columns: 3, reductionAxis: 1 };
    expect(() => quantizePairSafe(matrix, { perChannel: true, importance: Float64Array.of(1, 1) })).toThrow(RangeError);
  });

  it('gives the transposed matrix the transposed codes', () => {
    const values = Float32Array.from(sequence(7, 24));
    const byRow = quantizePairSafe({ values, rows: 4, columns: 6, reductionAxis: 1 }, { perChannel: true });
    const turned = Float32Array.from({ length: 24 }, (_, at) => values[(at % 4) * 6 + Math.floor(at / 4)] ?? 0);
    const byColumn = quantizePairSafe({ values: turned, rows: 6, columns: 4, reductionAxis: 0 }, { perChannel: true });
    expect(byColumn.scales).toEqual(byRow.scales);
    expect([...byColumn.codes]).toEqual([...byColumn.codes.keys()].map((at) => byRow.codes[(at % 4) * 6 + Math.floor(at / 4)]));
  });
});

interface Problem {
  readonly values: Float32Array;
  readonly hessian: Float64Array;
  readonly scales: Float32Array;
  readonly length: number;
}

/** One output channel over `length` correlated inputs. */
function problem(seed: number, length: number): Problem {
  const samples = 3 * length;
  const noise = sequence(seed, samples * length);
  const shared = sequence(seed + 1, samples);
  const hessian = new Float64Array(length * length);
  for (let sample = 0; sample < samples; sample += 1) {
    const x = (k: number): number => Math.max(0, (noise[sample * length + k] ?? 0) + (shared[sample] ?? 0));
    for (let i = 0; i < length; i += 1)
      for (let j = 0; j < length; j += 1) hessian[i * length + j] = (hessian[i * length + j] ?? 0) + (x(i) * x(j)) / samples;
  }
  const values = Float32Array.from(sequence(seed + 2, length));
  const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
  return { values, hessian, scales: Float32Array.of(largest / 127), length };
}

function outputError({ values, hessian, scales, length }: Problem, codes: Int8Array): number {
  const d = Float64Array.from(values, (value, k) => value - (scales[0] ?? 0) * (codes[k] ?? 0));
  let sum = 0;
  for (let i = 0; i < length; i += 1) for (let j = 0; j < length; j += 1) sum += (d[i] ?? 0) * (hessian[i * length + j] ?? 0) * (d[j] ?? 0);
  return sum;
}

/** Textbook GPTQ with an explicit inverse that is updated by elimination: no Cholesky factor, visits the columns in the same order. */
function eliminatedCodes({ values, hessian, scales, length }: Problem, order: readonly number[], damping: number): Int8Array {
  const trace = order.reduce((sum, k) => sum + (hessian[k * length + k] ?? 0), 0);
  const h = order.map((a, i) => order.map((b, j) => (hessian[a * length + b] ?? 0) + (i === j ? (damping * trace) / length : 0)));
  const inverse = gaussJordan(h);
  const w = order.map((k) => values[k] ?? 0);
  const codes = new Int8Array(length);
  for (let k = 0; k < length; k += 1) {
    const scale = scales[0] ?? 1;
    const code = Math.max(-127, Math.min(127, Math.round((w[k] ?? 0) / scale)));
    codes[order[k] ?? 0] = code;
    const pivot = inverse[k]?.[k] ?? 1;
    const error = ((w[k] ?? 0) - scale * code) / pivot;
    for (let j = k + 1; j < length; j += 1) w[j] = (w[j] ?? 0) - error * (inverse[k]?.[j] ?? 0);
    for (let i = k + 1; i < length; i += 1) {
      const factor = (inverse[i]?.[k] ?? 0) / pivot;
      for (let j = k; j < length; j += 1) (inverse[i] as number[])[j] = (inverse[i]?.[j] ?? 0) - factor * (inverse[k]?.[j] ?? 0);
    }
  }
  return codes;
}

function gaussJordan(matrix: readonly (readonly number[])[]): number[][] {
  const size = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...row.map((_, j) => (i === j ? 1 : 0))]);
  for (let k = 0; k < size; k += 1) {
    const pivotRow = rows[k] as number[];
    const pivot = pivotRow[k] ?? 1;
    for (let j = 0; j < 2 * size; j += 1) pivotRow[j] = (pivotRow[j] ?? 0) / pivot;
    for (const [i, row] of rows.entries()) {
      if (i === k) continue;
      const factor = row[k] ?? 0;
      for (let j = 0; j < 2 * size; j += 1) row[j] = (row[j] ?? 0) - factor * (pivotRow[j] ?? 0);
    }
  }
  return rows.map((row) => row.slice(size));
}

function byImportance({ hessian, length }: Problem): number[] {
  const weight = (k: number): number => (k < length ? (hessian[k * length + k] ?? 0) : 0);
  const firsts = Array.from({ length: Math.ceil(length / 2) }, (_, pair) => 2 * pair);
  firsts.sort((a, b) => weight(b) + weight(b + 1) - weight(a) - weight(a + 1));
  return firsts.flatMap((k) => [k, k + 1]).filter((k) => k < length);
}

describe('rounding with the Hessian', () => {
  it('equals the elimination form of GPTQ when pairs are free', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.integer({ min: 1, max: 14 }), (seed, length) => {
        const given = problem(seed, length);
        const codes = roundWithHessian({ ...given, channels: 1, pairSafe: false, damping: 0.02 });
        expect([...codes]).toEqual([...eliminatedCodes(given, byImportance(given), 0.02)]);
      }),
      { numRuns: 60 },
    );
  });

  it('never saturates under the pair constraint and beats clipping the same scale without feedback', () => {
    let fed = 0;
    let clipped = 0;
    for (let seed = 0; seed < 60; seed += 1) {
      const given = problem(seed * 17 + 3, 16);
      const codes = roundWithHessian({ ...given, channels: 1, pairSafe: true });
      expect(canSaturate(codes)).toBe(false);
      const scale = given.scales[0] ?? 1;
      const nearest = Int8Array.from(given.values, (value) => Math.round(value / scale));
      for (let k = 0; k + 1 < nearest.length; k += 2) {
        const [a = 0, b = 0] = [nearest[k], nearest[k + 1]];
        if (a * b > 0 && Math.abs(a) + Math.abs(b) > 128) nearest[k + 1] = Math.sign(b) * (128 - Math.abs(a));
      }
      fed += outputError(given, codes);
      clipped += outputError(given, nearest);
    }
    expect(fed).toBeLessThan(clipped / 2);
  });

  it('rounds an input that never occurs as if alone', () => {
    const codes = roundWithHessian({
      values: Float32Array.of(0.5, -1),
      channels: 1,
      length: 2,
      scales: Float32Array.of(1 / 127),
      hessian: new Float64Array(4),
      pairSafe: true,
    });
    expect([...codes]).toEqual([64, -127]);
  });
});
