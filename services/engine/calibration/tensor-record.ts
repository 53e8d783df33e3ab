/** What all runs so far showed of one tensor. */
import type { ValueHistogram } from '../method.js';
import type { ChannelSummary, Extremes, ObservedTensor } from './observed-run.js';
import { ValueDistribution } from './value-distribution.js';

/** Share of a new run in a moving average: m <- m + 0.01 (new - m), the constant of onnxruntime.quantization (methods.md 2.6). */
const MOVING_SHARE = 0.01;

export class TensorRecord {
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  count = 0;
  nonFinite = 0;
  dims: readonly number[] = [];
  /** Moving averages of the extremes of the runs; the first run's to begin with. */
  averaged: Extremes | undefined;
  channels: ChannelRecord | undefined;
  /** E[x] and E[x^2]; undefined until a run showed them. */
  mean: number | undefined;
  power: number | undefined;
  private readonly distribution: ValueDistribution | undefined;

  constructor(bins: number | undefined) {
    this.distribution = bins === undefined ? undefined : new ValueDistribution(bins);
  }

  add(run: ObservedTensor): void {
    this.dims = run.dims;
    this.nonFinite += run.nonFinite;
    if (run.count === 0) return;
    this.count += run.count;
    const share = run.count / this.count;
    this.min = Math.min(this.min, run.min);
    this.max = Math.max(this.max, run.max);
    if (run.mean !== undefined) this.mean = moved(this.mean ?? run.mean, run.mean, share);
    if (run.power !== undefined) this.power = moved(this.power ?? run.power, run.power, share);
    const { averaged = run } = this;
    this.averaged = { min: moved(averaged.min, run.min, MOVING_SHARE), max: moved(averaged.max, run.max, MOVING_SHARE) };
    if (run.values) this.distribution?.add(run.values, run);
    if (run.channels) {
      this.channels ??= new ChannelRecord(run.channels);
      this.channels.add(run.channels, share);
    }
  }

  /** Whether each channel showed at least so many values. */
  hasSeen(values: number): boolean {
    return this.channels !== undefined && this.count >= values * this.channels.mean.length;
  }

  histogram(): ValueHistogram | undefined {
    return this.distribution?.histogram();
  }
}

/** Statistics per channel; every run counts by its number of values. */
class ChannelRecord {
  readonly mean: Float64Array;
  readonly power: Float64Array;

  constructor({ mean, power }: ChannelSummary) {
    this.mean = Float64Array.from(mean);
    this.power = Float64Array.from(power);
  }

  /** `share` of the run in all values so far. */
  add(run: ChannelSummary, share: number): void {
    const { mean, power } = this;
    for (let at = 0; at < mean.length; at += 1) {
      mean[at] = moved(mean[at] as number, run.mean[at] as number, share);
      power[at] = moved(power[at] as number, run.power[at] as number, share);
    }
  }
}

function moved(from: number, to: number, share: number): number {
  return from + share * (to - from);
}
