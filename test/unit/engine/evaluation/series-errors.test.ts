/** Errors of forecasts, counted by hand. */
import { describe, expect, test } from 'vitest';
import { MetricsAccumulator } from '../../../../services/engine/evaluation/metrics.js';
import { SeriesErrors } from '../../../../services/engine/evaluation/series-errors.js';
import { float32Tensor } from '../../../../services/engine/ir/index.js';

const facts = { horizon: 2, center: 0, spread: 1, naiveError: null } as const;

describe('errors of forecasts', () => {
  test('MAPE, sMAPE and MASE against the season before, in all and by step ahead', () => {
    const errors = new SeriesErrors(facts);
    errors.add({ actual: [3, 4], expected: [2, 8], lastSeason: [4, 4], sampleCount: 1 });
    errors.add({ actual: [5, 5], expected: [4, 5], lastSeason: [4, 6], sampleCount: 1 });
    const naive = (2 + 4 + 0 + 1) / 4;
    expect(errors.result.mape).toBeCloseTo((1 / 2 + 4 / 8 + 1 / 4 + 0) / 4, 12);
    expect(errors.result.smape).toBeCloseTo((2 / 5 + 8 / 12 + 2 / 9 + 0) / 4, 12);
    expect(errors.result.mase).toBeCloseTo((1 + 4 + 1 + 0) / 4 / naive, 12);
    expect(errors.horizons).toMatchObject([
      { mse: 1, mae: 1, mape: (1 / 2 + 1 / 4) / 2, mase: 1 / naive },
      { mse: 8, mae: 2, mape: 0.25, mase: 2 / naive },
    ]);
  });

  test('a forecast that repeats the season has a MASE of 1; a short season is repeated', () => {
    const errors = new SeriesErrors({ ...facts, horizon: 3 });
    errors.add({ actual: [7, 9, 7], expected: [1, 2, 3], lastSeason: [7, 9], sampleCount: 1 });
    expect(errors.result.mase).toBeCloseTo(1, 12);
  });

  test('percentages are in the unit of the series, the error of the training part is what MASE divides by', () => {
    const errors = new SeriesErrors({ horizon: null, center: 100, spread: 10, naiveError: 0.25 });
    errors.add({ actual: [1, -1], expected: [0, 0], sampleCount: 2 });
    expect(errors.result.mape).toBeCloseTo(0.1, 12);
    expect(errors.result.mase).toBeCloseTo(4, 12);
    expect(errors.horizons).toEqual([]);
  });

  test('labels of 0 have no percentage, and a naive forecast without error no MASE', () => {
    const errors = new SeriesErrors(facts);
    errors.add({ actual: [1, 3], expected: [0, 2], lastSeason: [0, 2], sampleCount: 1 });
    expect(errors.result).toEqual({ mape: 0.5, smape: (2 + 2 / 5) / 2 });
  });

  test('stand beside the squared error, with several targets', () => {
    const metrics = new MetricsAccumulator({ series: facts });
    const labels = float32Tensor([1, 2, 2], [1, 2, 3, 4]);
    const lastSeason = float32Tensor([1, 2, 2], [1, 1, 1, 1]);
    metrics.add(new Map([['y', float32Tensor([1, 4], [2, 2, 3, 4])]]), labels, { rows: 1, sampleCount: 1, lastSeason });
    expect(metrics.result).toMatchObject({ mse: 0.25, mae: 0.25, mape: 0.25, mase: 0.25 / 1.5, samples: 1 });
    expect(metrics.result.horizons?.map(({ mae }) => mae)).toEqual([0.5, 0]);
    expect(new MetricsAccumulator().result.mape).toBeUndefined();
  });
});
