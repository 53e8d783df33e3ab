/** What one run showed of a tensor, in numbers: reductions made by the runtime, or made here from values. */

/** Of finite values. min > max when there was none. */
export interface Extremes {
  readonly min: number;
  readonly max: number;
}

export interface ValueSummary extends Extremes {
  readonly mean: number;
  /** E[x^2]. */
  readonly power: number;
  readonly count: number;
}

/** Per element of the channel axis. */
export interface ChannelSummary {
  readonly mean: ArrayLike<number>;
  readonly power: ArrayLike<number>;
}

export interface ObservedTensor extends Extremes {
  readonly dims: readonly number[];
  /** Finite values, those that were not fetched included. */
  readonly count: number;
  readonly nonFinite: number;
  readonly mean?: number;
  readonly power?: number;
  /** All or some of the values. */
  readonly values?: Float32Array;
  readonly channels?: ChannelSummary;
}

/** Summary of the finite values, summed in float64. */
export function summaryOf(values: Float32Array): ValueSummary {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  let sum = 0;
  let squares = 0;
  let count = 0;
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at] as number;
    // True of NaN and of both infinities.
    if (value - value !== 0) continue;
    if (value < min) min = value;
    if (value > max) max = value;
    sum += value;
    squares += value * value;
    count += 1;
  }
  return { min, max, mean: count > 0 ? sum / count : 0, power: count > 0 ? squares / count : 0, count };
}

/** Mean and power per element of `axis`; 0 for a channel without finite values. */
export function channelSummaryOf(values: Float32Array, dims: readonly number[], axis: number): ChannelSummary {
  const channels = dims[axis] ?? 1;
  const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
  const mean = new Float64Array(channels);
  const power = new Float64Array(channels);
  const counts = new Float64Array(channels);
  for (let start = 0, channel = 0; start < values.length; start += inner, channel = (channel + 1) % channels) {
    const summary = summaryOf(values.subarray(start, start + inner));
    mean[channel] = (mean[channel] as number) + summary.mean * summary.count;
    power[channel] = (power[channel] as number) + summary.power * summary.count;
    counts[channel] = (counts[channel] as number) + summary.count;
  }
  for (let channel = 0; channel < channels; channel += 1) {
    const count = Math.max(1, counts[channel] as number);
    mean[channel] = (mean[channel] as number) / count;
    power[channel] = (power[channel] as number) / count;
  }
  return { mean, power };
}
