import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { allFinite } from '../../../../services/engine/layers/finite-values.js';
import { quantizeWeights, transposed } from '../../../../services/engine/quantization/weight-quantization.js';

const matrix = fc
  .record({
    rows: fc.integer({ min: 1, max: 9 }),
    columns: fc.integer({ min: 1, max: 9 }),
    reductionAxis: fc.constantFrom(0 as const, 1 as const),
  })
  .chain(({ rows, columns, reductionAxis }) =>
    fc
      .array(fc.float({ min: -8, max: 8, noNaN: true }), { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => ({ rows, columns, reductionAxis, values: Float32Array.from(values) })),
  );

function channelOf(at: number, { columns, reductionAxis }: { columns: number; reductionAxis: 0 | 1 }): number {
  return reductionAxis === 0 ? at % columns : Math.floor(at / columns);
}

describe('weight quantization', () => {
  it('keeps every weight within half a step of its scale, in every scheme', () => {
    fc.assert(
      fc.property(matrix, fc.boolean(), fc.boolean(), (weights, perChannel, pairSafe) => {
        const { codes, scales } = quantizeWeights(weights, { perChannel, pairSafe });
        expect(scales.length).toBe(perChannel ? (weights.reductionAxis === 0 ? weights.columns : weights.rows) : 1);
        for (const [at, value] of weights.values.entries()) {
          const scale = scales[perChannel ? channelOf(at, weights) : 0] ?? Number.NaN;
          expect(Math.abs(scale * (codes[at] ?? 0) - value)).toBeLessThanOrEqual(scale * 0.5001);
        }
      }),
    );
  });

  it('gives one scale for all by the weights that there are: channels of zeros do not count', () => {
    const values = Float32Array.from([0, 0, 0, 0, 0.25, -0.5]);
    for (const pairSafe of [false, true]) {
      const { codes, scales } = quantizeWeights({ values, rows: 3, columns: 2, reductionAxis: 1 }, { perChannel: false, pairSafe });
      expect(scales[0]).toBeLessThan(0.5 / 120);
      expect([...codes.subarray(0, 4)]).toEqual([0, 0, 0, 0]);
    }
    const nothing = quantizeWeights(
      { values: new Float32Array(4), rows: 2, columns: 2, reductionAxis: 1 },
      { perChannel: false, pairSafe: true },
    );
    expect(nothing.scales[0]).toBeGreaterThan(0);
  });

  it('uses the whole range in each channel when pairs need not be safe', () => {
    fc.assert(
      fc.property(matrix, (weights) => {
        const { codes } = quantizeWeights(weights, { perChannel: true, pairSafe: false });
        const channels = weights.reductionAxis === 0 ? weights.columns : weights.rows;
        for (let channel = 0; channel < channels; channel += 1) {
          const members = [...weights.values.keys()].filter((at) => channelOf(at, weights) === channel);
          const largest = Math.max(...members.map((at) => Math.abs(weights.values[at] ?? 0)));
          fc.pre(largest === 0 || largest > 1e-30);
          expect(Math.max(...members.map((at) => Math.abs(codes[at] ?? 0)))).toBe(largest === 0 ? 0 : 127);
        }
      }),
    );
  });

  it('gives the transposed matrix the transposed codes and the same scales', () => {
    fc.assert(
      fc.property(matrix, (weights) => {
        const scheme = { perChannel: true, pairSafe: true };
        const there = quantizeWeights(weights, scheme);
        const values = new Float32Array(weights.values.length);
        for (const [at, value] of weights.values.entries())
          values[(at % weights.columns) * weights.rows + Math.floor(at / weights.columns)] = value;
        const reductionAxis = weights.reductionAxis === 0 ? 1 : 0;
        const back = quantizeWeights({ values, rows: weights.columns, columns: weights.rows, reductionAxis }, scheme);
        expect(back.scales).toEqual(there.scales);
        expect(back.codes).toEqual(transposed(there.codes, weights.rows, weights.columns));
      }),
    );
  });

  it('recognises values that have no code', () => {
    expect(allFinite(Float32Array.of(1, -2))).toBe(true);
    expect(allFinite(Float32Array.of(1, Number.NaN))).toBe(false);
    expect(allFinite(Float32Array.of(Number.NEGATIVE_INFINITY))).toBe(false);
  });
});
