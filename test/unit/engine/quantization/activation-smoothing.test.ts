import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { float32Tensor, float32Values, type Model, type Tensor } from '../../../../services/engine/ir/index.js';
import type { MethodContext, RunSource } from '../../../../services/engine/method.js';
import { smoothingFactors } from '../../../../services/engine/quantization/activation-smoothing.js';
import { dynamicInt8 } from '../../../../services/engine/quantization/dynamic-int8.js';
import { contextFor, ModelBuilder, noise, operators, outputsOf, removeScratch, sqnr } from './method-fixtures.js';

afterAll(removeScratch);

const DEPTH = 64;

/** Rows whose channel 5 is a hundred times as large as the others. */
function outlierRows(rows: number, seed: number): Tensor {
  const values = float32Values(noise([rows, DEPTH], seed)).map((value, at) => (at % DEPTH === 5 ? 100 * value : value));
  return float32Tensor([rows, DEPTH], values);
}

function samples(make: (seed: number) => Tensor): RunSource {
  return {
    sampleCount: 8,
    fixedBatch: null,
    sampleBytes: 4 * DEPTH,
    async *runs() {
      for (let seed = 0; seed < 8; seed += 1) yield { feeds: new Map([['x', make(seed)]]), rows: 1, sampleCount: 1 };
    },
  };
}

function twoProducts(): Model {
  const builder = new ModelBuilder();
  const x = builder.input('x', ['n', DEPTH]);
  builder.output(builder.node('MatMul', [x, builder.constant('a', noise([DEPTH, 32], 1))]));
  return builder.output(builder.node('MatMul', [x, builder.constant('b', noise([DEPTH, 32], 2))])).model;
}

describe('smoothing of outlier channels', () => {
  it('brings the integer products much closer to float32 when one channel dwarfs the others', async () => {
    const feeds = { x: outlierRows(16, 99) };
    const expected = await outputsOf(twoProducts(), feeds);
    const quality = async (context: MethodContext): Promise<{ model: Model; dB: number[] }> => {
      const model = twoProducts();
      await dynamicInt8(model, {}, context);
      const outputs = await outputsOf(model, feeds);
      return { model, dB: outputs.map((output, at) => sqnr(expected[at] ?? new Float32Array(), output)) };
    };
    const plain = await quality(contextFor('integer'));
    const smoothed = await quality({ ...contextFor('integer'), calibration: samples((seed) => outlierRows(1, seed)) });
    expect(operators(plain.model)).toEqual(['DynamicQuantizeLinear', 'MatMulIntegerToFloat', 'MatMulIntegerToFloat']);
    expect(operators(smoothed.model)).toEqual(['Mul', ...operators(plain.model)]);
    for (const at of [0, 1]) expect(smoothed.dB[at]).toBeGreaterThan((plain.dB[at] ?? 0) + 3);
  });

  it('adds no operation when all channels are alike', async () => {
    const model = twoProducts();
    await dynamicInt8(model, {}, { ...contextFor('integer'), calibration: samples((seed) => noise([1, DEPTH], seed)) });
    expect(operators(model)).not.toContain('Mul');
  });

  it('gives positive finite factors whatever the statistics and weights are, zeros included', () => {
    const numbers = (min: number) => fc.array(fc.float({ min, max: 1000, noNaN: true }), { minLength: 6, maxLength: 6 });
    fc.assert(
      fc.property(
        numbers(0),
        numbers(0),
        fc.array(fc.float({ min: -4, max: 4, noNaN: true }), { minLength: 18, maxLength: 18 }),
        (low, high, w) => {
          const statistics = {
            low: Float32Array.from(low, (value) => -value),
            high: Float32Array.from(high),
            power: Float64Array.from(high, (value) => value * value),
          };
          const factors = smoothingFactors(statistics, [{ values: Float32Array.from(w), depth: 6, channels: 3, reductionAxis: 0 }]);
          for (const factor of factors ?? []) expect(factor > 0 && Number.isFinite(factor) && Number.isFinite(1 / factor)).toBe(true);
        },
      ),
    );
  });
});
