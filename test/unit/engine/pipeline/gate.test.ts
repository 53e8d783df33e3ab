/** The quality gate: every bound on both sides, and what was not measured does not pass. */
import { describe, expect, test } from 'vitest';
import type { FidelityResult } from '../../../../services/engine/evaluation/fidelity.js';
import { checkGate, type Measured } from '../../../../services/engine/pipeline/gate.js';

const fidelity: FidelityResult = {
  sqnr_db: 30,
  cosine: 1,
  max_abs_error: 0,
  top1_agreement: 1,
  samples: 4,
  inputs: 'dataset',
  non_finite: 0,
  outputs: [],
};
const measured = (over: Partial<Measured> = {}): Measured => ({
  sourceMetrics: { top1: 0.9, samples: 10 },
  artifactMetrics: { top1: 0.89, samples: 10 },
  speedup: 1.5,
  sizeRatio: 4,
  fidelity,
  ...over,
});

describe('checkGate', () => {
  test.each([
    [{ max_metric_drop: 0.01 }, true],
    [{ max_metric_drop: 0.009 }, false],
    [{ min_speedup: 1.5 }, true],
    [{ min_speedup: 1.51 }, false],
    [{ min_size_ratio: 4 }, true],
    [{ min_size_ratio: 4.1 }, false],
    [{ min_sqnr_db: 30 }, true],
    [{ min_sqnr_db: 31 }, false],
    [{ min_sqnr_db: 31, min_size_ratio: 2 }, false],
    [{}, true],
  ])('%j: %s', (gate, passed) => {
    expect(checkGate(gate, measured()).passed).toBe(passed);
  });

  test('an error that grows is a drop, an accuracy that grows is none', () => {
    const errors = { sourceMetrics: { mse: 1, mae: 1, samples: 1 }, artifactMetrics: { mse: 1.2, mae: 1, samples: 1 } };
    expect(checkGate({ max_metric_drop: 0.1 }, measured(errors)).checks[0]).toMatchObject({ metric: 'mse', passed: false });
    expect(checkGate({ max_metric_drop: 0.1, metric: 'mae' }, measured(errors)).passed).toBe(true);
    expect(checkGate({ max_metric_drop: 0 }, measured({ artifactMetrics: { top1: 0.95, samples: 10 } })).passed).toBe(true);
  });

  test('a likeness that falls is a drop', () => {
    const pictures = { sourceMetrics: { mse: 1, psnr: 31.2, samples: 5 }, artifactMetrics: { mse: 0.9, psnr: 31.05, samples: 5 } };
    const actual = expect.closeTo(0.15, 9);
    expect(checkGate({ metric: 'psnr', max_metric_drop: 0.1 }, measured(pictures)).checks[0]).toMatchObject({ actual, passed: false });
    expect(checkGate({ metric: 'psnr', max_metric_drop: 0.2 }, measured(pictures)).passed).toBe(true);
  });

  test.each(['mse', 'mae', 'mape', 'smape', 'mase'] as const)('of the error %s more is worse', (metric) => {
    const [low, high] = [
      { [metric]: 1, samples: 5 },
      { [metric]: 1.5, samples: 5 },
    ];
    const gate = { max_metric_drop: 0.1, metric };
    expect(checkGate(gate, measured({ sourceMetrics: low, artifactMetrics: high })).passed).toBe(false);
    expect(checkGate(gate, measured({ sourceMetrics: high, artifactMetrics: low })).passed).toBe(true);
  });

  test('a bound on something that was not measured fails', () => {
    const nothing = measured({ sourceMetrics: null, artifactMetrics: null, speedup: null, fidelity: { ...fidelity, sqnr_db: null } });
    for (const gate of [{ max_metric_drop: 1 }, { min_speedup: 0.1 }, { min_sqnr_db: 1 }]) {
      expect(checkGate(gate, nothing)).toMatchObject({
        passed: false,
        checks: [{ actual: null, passed: false }, { check: 'finite_outputs' }],
      });
    }
  });

  test('a budget that a method missed fails, unless it was given up for the metric', () => {
    const missed = { figure: 'macs', asked: 0.5, reached: 0.7, accepted: false } as const;
    const failed = checkGate(undefined, measured({ budgets: [missed] }));
    expect(failed).toMatchObject({ passed: false, checks: [{ check: 'budget_macs', limit: 0.5, actual: 0.7 }, {}] });
    expect(checkGate(undefined, measured({ budgets: [{ ...missed, accepted: true }] })).passed).toBe(true);
  });

  test('multiply-accumulates that a clean-up took before the method count towards the budget of the file, other figures do not', () => {
    const missed = { asked: 0.5, reached: 0.55, accepted: false } as const;
    const of = (figure: 'macs' | 'bytes', keptMacs: number) =>
      checkGate(undefined, measured({ budgets: [{ ...missed, figure }], keptMacs }));
    expect(of('macs', 0.46)).toMatchObject({ passed: true, checks: [{ actual: 0.46 }, {}] });
    expect(of('macs', 0.51)).toMatchObject({ passed: false, checks: [{ actual: 0.55 }, {}] });
    expect(of('bytes', 0.46).passed).toBe(false);
  });

  test('an artifact that makes NaN where the source does not fails without any bound', () => {
    expect(checkGate(undefined, measured({ fidelity: { ...fidelity, non_finite: 1 } })).passed).toBe(false);
  });
});
