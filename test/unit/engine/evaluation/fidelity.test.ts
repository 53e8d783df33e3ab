/** Fidelity: the one-pass accumulators against the formulas written down naively, and the cases that break naive code. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FidelityAccumulator } from '../../../../services/engine/evaluation/fidelity.js';
import { OutputFidelityAccumulator, SQNR_MAX_DB } from '../../../../services/engine/evaluation/output-fidelity.js';
import { RunningSum } from '../../../../services/engine/evaluation/running-sum.js';
import { bytesInMemory, float32Tensor, int64Tensor, type Tensor } from '../../../../services/engine/ir/index.js';

const finite = fc.float({ noNaN: true, noDefaultInfinity: true, min: -1e6, max: 1e6 });
const pairs = fc.array(fc.tuple(finite, finite), { minLength: 1, maxLength: 60 });
const sum = (terms: readonly number[]) => terms.reduce((a, b) => a + b, 0);

describe('RunningSum', () => {
  test('keeps small terms beside large ones', () => {
    const total = new RunningSum();
    for (const term of [1, 1e100, 1, -1e100]) total.add(term);
    expect(total.value).toBe(2);
  });

  test('a million tenths are a hundred thousand', () => {
    const total = new RunningSum();
    for (let index = 0; index < 1e6; index++) total.add(0.1);
    expect(total.value).toBe(100000);
  });
});

describe('OutputFidelityAccumulator', () => {
  test('equals the formulas, however the stream is cut', () => {
    fc.assert(
      fc.property(pairs, fc.nat(60), (values, at) => {
        const [r, a] = [values.map(([x]) => x), values.map(([, y]) => y)];
        const accumulator = new OutputFidelityAccumulator();
        accumulator.add(r.slice(0, at), a.slice(0, at));
        accumulator.add(r.slice(at), a.slice(at));
        const noise = sum(r.map((x, i) => (x - (a[i] ?? 0)) ** 2));
        const signal = sum(r.map((x) => x * x));
        const energy = sum(a.map((x) => x * x));
        const result = accumulator.result;
        expect(result.max_abs_error).toBe(Math.max(...r.map((x, i) => Math.abs(x - (a[i] ?? 0)))));
        if (noise > 0 && signal > 0) expect(result.sqnr_db).toBeCloseTo(Math.max(-200, Math.min(200, 10 * Math.log10(signal / noise))), 6);
        if (signal > 1e-30 && energy > 1e-30)
          expect(result.cosine).toBeCloseTo(sum(r.map((x, i) => x * (a[i] ?? 0))) / Math.sqrt(signal * energy), 6);
      }),
    );
  });

  test('rounding a uniform full-scale signal to k bits gives 6.02 k dB', () => {
    const accumulator = new OutputFidelityAccumulator();
    const signal = Array.from({ length: 20_000 }, (_, index) => -1 + (2 * (index + 0.5)) / 20_000);
    const step = 2 / 2 ** 8;
    accumulator.add(
      signal,
      signal.map((x) => Math.round(x / step) * step),
    );
    expect(accumulator.result.sqnr_db).toBeCloseTo(20 * Math.log10(2) * 8, 0);
  });

  test('equal outputs, all zero ones too, have the largest SQNR and cosine 1', () => {
    for (const values of [
      [1, -2, 3],
      [0, 0],
    ]) {
      const accumulator = new OutputFidelityAccumulator();
      accumulator.add(values, values);
      expect(accumulator.result).toEqual({ sqnr_db: SQNR_MAX_DB, cosine: 1, max_abs_error: 0, non_finite: 0, non_finite_alike: 0 });
    }
  });

  test('NaN and infinity that both models give are no error; those of one alone are counted', () => {
    const accumulator = new OutputFidelityAccumulator();
    accumulator.add([Number.NaN, Number.NEGATIVE_INFINITY, 1], [Number.NaN, Number.NEGATIVE_INFINITY, 1]);
    expect(accumulator.result).toMatchObject({ non_finite: 0, non_finite_alike: 2, max_abs_error: 0 });
    accumulator.add([1, Number.POSITIVE_INFINITY], [Number.NaN, Number.NEGATIVE_INFINITY]);
    expect(accumulator.result.non_finite).toBe(2);
  });
});

describe('FidelityAccumulator', () => {
  const outputs = (tensors: Record<string, Tensor>) => new Map(Object.entries(tensors));

  test('the headline is the worst output', () => {
    const fidelity = new FidelityAccumulator();
    const one = { rows: 1, sampleCount: 1 };
    fidelity.add(
      outputs({ a: float32Tensor([1, 3, 2, 2], new Float32Array(12).fill(1)), b: float32Tensor([1, 1], [10]) }),
      outputs({ a: float32Tensor([1, 3, 2, 2], new Float32Array(12).fill(1)), b: float32Tensor([1, 1], [11]) }),
      one,
    );
    const result = fidelity.result('generated');
    expect(result.sqnr_db).toBeCloseTo(20, 9);
    expect(result).toMatchObject({ max_abs_error: 1, samples: 1, inputs: 'generated', top1_agreement: null });
    expect(result.outputs.map((output) => output.name)).toEqual(['a', 'b']);
  });

  test('top-1 agreement counts samples whose best class is the same, and only real samples of a filled batch', () => {
    const fidelity = new FidelityAccumulator();
    fidelity.add(outputs({ y: float32Tensor([3, 2], [1, 0, 1, 0, 0, 1]) }), outputs({ y: float32Tensor([3, 2], [2, 0, 0, 1, 9, 1]) }), {
      rows: 3,
      sampleCount: 2,
    });
    const result = fidelity.result('dataset');
    expect(result).toMatchObject({ samples: 2, top1_agreement: 0.5, max_abs_error: 1 });
  });

  test('class numbers and texts are compared element by element', () => {
    const text = (...all: string[]): Tensor => ({
      dataType: 'string',
      dims: [all.length],
      data: bytesInMemory(new Uint8Array()),
      strings: all.map((each) => Buffer.from(each)),
    });
    const numbers = new FidelityAccumulator();
    numbers.add(outputs({ c: int64Tensor([1], [4]) }), outputs({ c: int64Tensor([1], [5]) }), { rows: 1, sampleCount: 1 });
    expect(numbers.result('dataset')).toMatchObject({ top1_agreement: 0, sqnr_db: null, cosine: null, max_abs_error: null });
    const texts = new FidelityAccumulator();
    texts.add(outputs({ c: text('cat', 'dog') }), outputs({ c: text('cat', 'cow') }), { rows: 1, sampleCount: 1 });
    expect(texts.result('dataset').top1_agreement).toBe(0.5);
  });
});
