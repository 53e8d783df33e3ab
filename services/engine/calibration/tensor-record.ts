/** What all runs so far showed of one tensor. */
import type { ValueHistogram } from '../method.js';
import type { ChannelSummary, ObservedTensor } from './observed-run.js';
import { ValueDistribution } from './value-distribution.js';

/** Share of a new run in a moving average: m <- m + 0.01 (new - m), the constant of onnxruntime.quantization (methods.md 2.6). */
const MOVING_SHARE = 0.01;

export interface Extremes {
  readonly min: number;
  readonly max: number;
}

export class TensorRecord {
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  count = 0;
  nonFinite = 0;
  dims: readonly number[] = [];
  /** Moving averages of the extremes of the runs; the first run's to begin with. */
  averaged: Extremes | undefined;
  channels: ChannelRecord | undefined;
  private sum = 0;
  private squares = 0;
  private readonly distribution: ValueDistribution | undefined;

  constructor(bins: number | undefined) {
    this.distribution = bins === undefined ? undefined : new ValueDistribution(bins);
  }

  get mean(): number {
    return this.sum / Math.max(1, this.count);
  }

  get power(): number {
    return this.squares / Math.max(1, this.count);
  }

  add(run: ObservedTensor): void {
    this.dims = run.dims;
    this.nonFinite += run.nonFinite;
    if (run.count === 0) return;
    this.min = Math.min(this.min, run.min);
    this.max = Math.max(this.max, run.max);
    this.sum += run.mean * run.count;
    this.squares += run.power * run.count;
    this.count += run.count;
    const { averaged } = this;
    this.averaged = averaged
      ? { min: averaged.min + MOVING_SHARE * (run.min - averaged.min), max: averaged.max + MOVING_SHARE * (run.max - averaged.max) }
      : { min: run.min, max: run.max };
    if (run.values) this.distribution?.add(run.values, run);
    if (run.channels) {
      this.channels ??= new ChannelRecord(run.channels.min.length);
      this.channels.add(run.channels, run.count);
    }
  }

  histogram(): ValueHistogram | undefined {
    return this.distribution?.histogram();
  }
}

/** Statistics per channel; every run counts by its number of values. */
export class ChannelRecord {
  readonly low: Float32Array;
  readonly high: Float32Array;
  readonly mean: Float64Array;
  readonly power: Float64Array;
  private count = 0;

  constructor(channels: number) {
    this.low = new Float32Array(channels).fill(Number.POSITIVE_INFINITY);
    this.high = new Float32Array(channels).fill(Number.NEGATIVE_INFINITY);
    this.mean = new Float64Array(channels);
    this.power = new Float64Array(channels);
  }

  add({ min, max, mean, power }: ChannelSummary, count: number): void {
    this.count += count;
    const share = count / this.count;
    for (let at = 0; at < this.low.length; at += 1) {
      this.low[at] = Math.min(this.low[at] as number, min[at] as number);
      this.high[at] = Math.max(this.high[at] as number, max[at] as number);
      this.mean[at] = (this.mean[at] as number) + share * ((mean[at] as number) - (this.mean[at] as number));
      this.power[at] = (this.power[at] as number) + share * ((power[at] as number) - (this.power[at] as number));
    }
  }
}
