/** What one run showed of a tensor, in numbers: reductions made by the runtime, or made here from all values. */

/** min > max when no value was finite. Of finite values only, except for `mean`, which tells when others were reduced with them. */
export interface ValueSummary {
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  /** E[x^2]. */
  readonly power: number;
}

/** ValueSummary per channel. */
export interface ChannelSummary {
  readonly min: ArrayLike<number>;
  readonly max: ArrayLike<number>;
  readonly mean: ArrayLike<number>;
  readonly power: ArrayLike<number>;
}

export interface ObservedTensor extends ValueSummary {
  readonly dims: readonly number[];
  /** Finite values, those that were not fetched included. */
  readonly count: number;
  readonly nonFinite: number;
  /** All or some of the values. */
  readonly values?: Float32Array;
  readonly channels?: ChannelSummary;
}

/** Summary of the finite values, summed in float64. */
export function summaryOf(values: Float32Array): ValueSummary & { readonly count: number } {
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

/** The same per element of `axis`; a channel without finite values has min > max. */
export function channelSummaryOf(values: Float32Array, dims: readonly number[], axis: number): ChannelSummary {
  const at = axis < 0 ? axis + dims.length : axis;
  const channels = dims[at] ?? 1;
  const inner = dims.slice(at + 1).reduce((product, size) => product * size, 1);
  const min = new Float32Array(channels).fill(Number.POSITIVE_INFINITY);
  const max = new Float32Array(channels).fill(Number.NEGATIVE_INFINITY);
  const mean = new Float64Array(channels);
  const power = new Float64Array(channels);
  const counts = new Float64Array(channels);
  for (let start = 0, channel = 0; start < values.length; start += inner, channel = (channel + 1) % channels) {
    const summary = summaryOf(values.subarray(start, start + inner));
    min[channel] = Math.min(min[channel] as number, summary.min);
    max[channel] = Math.max(max[channel] as number, summary.max);
    mean[channel] = (mean[channel] as number) + summary.mean * summary.count;
    power[channel] = (power[channel] as number) + summary.power * summary.count;
    counts[channel] = (counts[channel] as number) + summary.count;
  }
  for (let channel = 0; channel < channels; channel += 1) {
    const count = Math.max(1, counts[channel] as number);
    mean[channel] = (mean[channel] as number) / count;
    power[channel] = (power[channel] as number) / count;
  }
  return { min, max, mean, power };
}

/** One summary for channels of equal size. */
export function mergedChannels({ min, max, mean, power }: ChannelSummary): ValueSummary {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  let means = 0;
  let powers = 0;
  for (let channel = 0; channel < min.length; channel += 1) {
    // Not Math.min alone: a NaN must not hide behind a comparison.
    low = Math.min(low, min[channel] as number);
    high = Math.max(high, max[channel] as number);
    means += mean[channel] as number;
    powers += power[channel] as number;
  }
  return { min: low, max: high, mean: means / min.length, power: powers / min.length };
}

/** Whether reductions saw finite values only. */
export function isAllFinite({ min, max, mean, power }: ValueSummary): boolean {
  return Number.isFinite(min) && Number.isFinite(max) && Number.isFinite(mean) && Number.isFinite(power);
}
