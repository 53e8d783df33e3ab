/** Learning rates against closed forms: where they begin, where they end, and every step between. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkLearningRate,
  type LearningRateOptions,
  learningRateAt,
  type Schedule,
} from '../../../../services/engine/training/learning-rate.js';

const curve = (options: LearningRateOptions, steps: number): number[] =>
  Array.from({ length: steps }, (_, step) => learningRateAt(options, step, steps));

describe('learningRateAt', () => {
  test('constant', () => {
    expect(curve({ rate: 0.3 }, 4)).toEqual([0.3, 0.3, 0.3, 0.3]);
  });

  test('cosine: eta_min + (eta - eta_min) (1 + cos(pi t / T)) / 2', () => {
    const rates = curve({ rate: 2, schedule: { name: 'cosine', finalShare: 0.1 } }, 8);
    for (const [t, rate] of rates.entries()) expect(rate).toBeCloseTo(0.2 + (1.8 * (1 + Math.cos((Math.PI * t) / 8))) / 2, 12);
    expect(rates[4]).toBeCloseTo(1.1, 12);
  });

  test('step: falls after the given shares of the run', () => {
    const rates = curve({ rate: 1, schedule: { name: 'step', at: [0.5, 0.8], factor: 0.1 } }, 10);
    const expected = [1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01];
    for (const [step, rate] of rates.entries()) expect(rate).toBeCloseTo(expected[step] ?? Number.NaN, 12);
  });

  test('one-cycle: from a part of the rate up to it and down to almost nothing', () => {
    const rates = curve({ rate: 1, schedule: { name: 'one-cycle' } }, 100);
    expect(rates[0]).toBeCloseTo(1 / 25, 12);
    expect(rates[29]).toBe(1);
    expect(rates[99]).toBeCloseTo(1 / 25 / 1e4, 12);
    expect(rates[64]).toBeCloseTo((1 + 4e-6) / 2, 12);
    expect(Math.max(...rates)).toBe(1);
  });

  test('warm-up: rises in equal steps to where the schedule begins, which takes the rest', () => {
    const rates = curve({ rate: 1, warmUpSteps: 4, schedule: { name: 'cosine' } }, 12);
    const expected = [0.2, 0.4, 0.6, 0.8, ...curve({ rate: 1, schedule: { name: 'cosine' } }, 8)];
    for (const [step, rate] of rates.entries()) expect(rate).toBeCloseTo(expected[step] ?? Number.NaN, 12);
  });

  const schedules: fc.Arbitrary<Schedule> = fc.oneof(
    fc.constant<Schedule>({ name: 'constant' }),
    fc.record({ name: fc.constant('cosine' as const), finalShare: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.record({ name: fc.constant('step' as const), at: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 3 }) }),
    fc.record({ name: fc.constant('one-cycle' as const), riseShare: fc.double({ min: 0.001, max: 0.999, noNaN: true }) }),
  );

  test('every rate of every run is a finite number from 0 to the highest', () => {
    fc.assert(
      fc.property(schedules, fc.integer({ min: 1, max: 50 }), fc.nat(60), (schedule, steps, warmUpSteps) => {
        for (const rate of curve({ rate: 0.5, warmUpSteps, schedule }, steps)) {
          expect(rate).toBeGreaterThanOrEqual(0);
          expect(rate).toBeLessThanOrEqual(0.5 + 1e-12);
        }
      }),
    );
  });
});

describe('checkLearningRate', () => {
  test.each<LearningRateOptions>([
    { rate: 0 },
    { rate: Number.NaN },
    { rate: 1, warmUpSteps: 1.5 },
    { rate: 1, schedule: { name: 'cosine', finalShare: 2 } },
    { rate: 1, schedule: { name: 'step', at: [1.5] } },
    { rate: 1, schedule: { name: 'step', at: [0.5], factor: 0 } },
    { rate: 1, schedule: { name: 'one-cycle', riseShare: 0 } },
    { rate: 1, schedule: { name: 'one-cycle', startDivisor: 0.5 } },
  ])('%o is refused', (options) => {
    expect(() => checkLearningRate(options)).toThrow(expect.objectContaining({ code: 'recipe_invalid' }));
  });

  test('defaults are fine', () => {
    for (const name of ['constant', 'cosine', 'one-cycle'] as const)
      expect(() => checkLearningRate({ rate: 1, schedule: { name } })).not.toThrow();
    expect(() => checkLearningRate({ rate: 1e-3, warmUpSteps: 10, schedule: { name: 'step', at: [0.5, 0.75] } })).not.toThrow();
  });
});
