/** The quality gate: which bounds of the recipe the measured artifact keeps. */
import type { FidelityResult } from '../evaluation/fidelity.js';
import type { Metrics } from '../evaluation/metrics.js';
import type { BudgetOutcome } from '../method.js';
import type { MetricName, QualityGate } from './plan.js';

export interface GateCheck {
  readonly check:
    | 'max_metric_drop'
    | 'min_speedup'
    | 'min_size_ratio'
    | 'min_sqnr_db'
    | 'finite_outputs'
    | `budget_${BudgetOutcome['figure']}`;
  readonly limit: number;
  /** null when it could not be measured; such a check has failed. */
  readonly actual: number | null;
  readonly passed: boolean;
  /** The metric of `max_metric_drop`. */
  readonly metric?: MetricName;
}

export interface GateResult {
  readonly passed: boolean;
  readonly checks: readonly GateCheck[];
}

export interface Measured {
  readonly sourceMetrics: Metrics | null;
  readonly artifactMetrics: Metrics | null;
  readonly speedup: number | null;
  readonly sizeRatio: number;
  readonly fidelity: FidelityResult;
  /** Of the methods, in order. */
  readonly budgets?: readonly BudgetOutcome[];
  /** Multiply-accumulates of the artifact as a fraction of those of the source, both counted on the files. */
  readonly keptMacs?: number | null;
}

function atLeast(check: GateCheck['check'], limit: number | undefined, actual: number | null): GateCheck[] {
  return limit === undefined ? [] : [{ check, limit, actual, passed: actual !== null && actual >= limit }];
}

/** Larger is better for accuracies and likenesses, smaller for errors. */
const better: { readonly [Name in MetricName]: 'larger' | 'smaller' } = {
  top1: 'larger',
  top5: 'larger',
  psnr: 'larger',
  ssim: 'larger',
  mse: 'smaller',
  mae: 'smaller',
  mape: 'smaller',
  smape: 'smaller',
  mase: 'smaller',
};

/** Source - artifact, or artifact - source for errors: positive is worse. null when one side does not have the metric. */
export function metricDrop(metric: MetricName, source: Metrics | null, artifact: Metrics | null): number | null {
  const before = source?.[metric];
  const after = artifact?.[metric];
  if (before === undefined || after === undefined) return null;
  return better[metric] === 'smaller' ? after - before : before - after;
}

/** Differences of shares carry rounding in the last digit; a drop of exactly the limit passes. */
const ROUNDING = 1e-12;

/**
 * An artifact that makes NaN or infinity where the source does not has failed, whatever the recipe asks for; so has one that misses a
 * budget of the recipe, unless that was given up for the metric.
 */
export function checkGate(gate: QualityGate | undefined, measured: Measured): GateResult {
  const metric = gate?.metric ?? (measured.sourceMetrics?.mse === undefined ? 'top1' : 'mse');
  const drop = metricDrop(metric, measured.sourceMetrics, measured.artifactMetrics);
  const limit = gate?.max_metric_drop;
  const checks: GateCheck[] = [
    ...(limit === undefined
      ? []
      : [{ check: 'max_metric_drop' as const, limit, actual: drop, passed: drop !== null && drop <= limit + ROUNDING, metric }]),
    ...atLeast('min_speedup', gate?.min_speedup, measured.speedup),
    ...atLeast('min_size_ratio', gate?.min_size_ratio, measured.sizeRatio),
    ...atLeast('min_sqnr_db', gate?.min_sqnr_db, measured.fidelity.sqnr_db),
    ...(measured.budgets ?? []).map((budget) => checkBudget(budget, measured.keptMacs ?? null)),
    { check: 'finite_outputs', limit: 0, actual: measured.fidelity.non_finite, passed: measured.fidelity.non_finite === 0 },
  ];
  return { passed: checks.every((check) => check.passed), checks };
}

/** What the steps before removed, such as a clean-up, counts towards the budget of the file that was given. */
function checkBudget({ figure, asked, reached, accepted }: BudgetOutcome, keptMacs: number | null): GateCheck {
  const check = `budget_${figure}` as const;
  const isKept = figure === 'macs' && keptMacs !== null && keptMacs <= asked;
  if (accepted || !isKept) return { check, limit: asked, actual: reached, passed: accepted };
  return { check, limit: asked, actual: keptMacs, passed: true };
}
