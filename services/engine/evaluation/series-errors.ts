/** Errors of forecasts: in percent, against a seasonal naive forecast, and by how far ahead they look. */
import type { SeriesFacts } from '../method.js';
import { RunningSum } from './running-sum.js';

export interface SeriesMetrics {
  /** mean |e| / |y| over the labels that are not 0, in the unit that `center` and `spread` give. Shares: 0.04 is 4 %. */
  mape?: number;
  /** mean 2 |e| / (|y| + |forecast|), from 0 to 2. */
  smape?: number;
  /** mean |e| over the naive error: below 1 is better than repeating the last season. */
  mase?: number;
}

export interface HorizonMetrics extends SeriesMetrics {
  mse: number;
  mae: number;
}

/** Elements of one batch, one sample after the other. */
export interface ForecastRun {
  readonly actual: ArrayLike<number>;
  readonly expected: ArrayLike<number>;
  /** [samples, season, targets]; absent when it is not known. */
  readonly lastSeason?: ArrayLike<number>;
  readonly sampleCount: number;
}

/**
 * MASE (Hyndman and Koehler 2006): mean |y - forecast| / Q, Q the mean absolute seasonal difference of the training part
 * (`naiveError`), or where that is not known the error of repeating the last season on the same windows.
 */
export class SeriesErrors {
  private readonly steps: StepErrors[] = [];
  private readonly naive = new RunningSum();
  private naiveCount = 0;

  constructor(private readonly facts: SeriesFacts) {}

  add({ actual, expected, lastSeason, sampleCount }: ForecastRun): void {
    const { horizon } = this.facts;
    const each = expected.length / sampleCount;
    const rows = horizon !== null && each % horizon === 0 ? horizon : 1;
    const width = each / rows;
    const season = lastSeason ? lastSeason.length / sampleCount / width : 0;
    for (let sample = 0, at = 0; sample < sampleCount; sample += 1)
      for (let row = 0; row < rows; row += 1) {
        this.steps[row] ??= new StepErrors(this.facts);
        for (let column = 0; column < width; column += 1, at += 1) {
          const label = expected[at] ?? Number.NaN;
          this.steps[row]?.add(actual[at] ?? Number.NaN, label);
          if (!lastSeason) continue;
          const before = lastSeason[(sample * season + (row % season)) * width + column] ?? Number.NaN;
          this.naive.add(Math.abs(before - label));
          this.naiveCount += 1;
        }
      }
  }

  get result(): SeriesMetrics {
    const all = this.steps.reduce((sum, step) => sum.with(step), new StepErrors(this.facts));
    return all.metrics(this.unit);
  }

  /** One for each row of the horizon, the nearest first; empty where samples are no windows. */
  get horizons(): readonly HorizonMetrics[] {
    if (this.facts.horizon === null || this.steps.length < 2) return [];
    return this.steps.map((step) => ({ ...step.errors, ...step.metrics(this.unit) }));
  }

  private get unit(): number | null {
    const measured = this.naiveCount > 0 ? this.naive.value / this.naiveCount : null;
    const unit = this.facts.naiveError ?? measured;
    return unit !== null && unit > 0 ? unit : null;
  }
}

class StepErrors {
  private readonly squared = new RunningSum();
  private readonly absolute = new RunningSum();
  private readonly relative = new RunningSum();
  private readonly symmetric = new RunningSum();
  private count = 0;
  private notZero = 0;

  constructor(private readonly facts: SeriesFacts) {}

  add(actual: number, expected: number): void {
    const { center, spread } = this.facts;
    const error = actual - expected;
    this.squared.add(error * error);
    this.absolute.add(Math.abs(error));
    this.count += 1;
    const [size, made] = [Math.abs(expected * spread + center), Math.abs(actual * spread + center)];
    const distance = Math.abs(error * spread);
    if (size > 0) {
      this.relative.add(distance / size);
      this.notZero += 1;
    }
    if (size + made > 0) this.symmetric.add((2 * distance) / (size + made));
  }

  with(other: StepErrors): this {
    for (const name of ['squared', 'absolute', 'relative', 'symmetric'] as const) this[name].add(other[name].value);
    this.count += other.count;
    this.notZero += other.notZero;
    return this;
  }

  get errors(): { mse: number; mae: number } {
    return { mse: this.squared.value / this.count, mae: this.absolute.value / this.count };
  }

  metrics(unit: number | null): SeriesMetrics {
    return {
      ...(this.notZero > 0 ? { mape: this.relative.value / this.notZero } : {}),
      smape: this.symmetric.value / this.count,
      ...(unit === null ? {} : { mase: this.absolute.value / this.count / unit }),
    };
  }
}
