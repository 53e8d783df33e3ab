/**
 * The range of each channel with the least squared error of what is read: of the numbers themselves, or of sigmoid and tanh of
 * them, so that a gate spends no codes where its function is flat (sigmoid beyond about 6, tanh beyond about 3).
 */
import { codesOf, type PointRange } from './point-form.js';
import type { Point } from './quantization-plan.js';

/** Numbers of a point as they came, [rows, channels], and the extremes of all that were seen. */
export interface ObservedPoint {
  readonly rows: Float32Array;
  readonly low: Float32Array;
  readonly high: Float32Array;
}

/** Shares of the extremes that are tried as ends of the range. */
const SHARES = Array.from({ length: 15 }, (_, step) => 0.3 + 0.05 * step);
const SWEEPS = 2;

const functions = {
  sigmoid: (x: number): number => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  itself: (x: number): number => x,
} as const;

/** The extremes that were seen. */
export function fullRange({ low, high }: ObservedPoint): PointRange {
  return { low: Float32Array.from(low), high: Float32Array.from(high) };
}

export function leastErrorRange(point: Point, observed: ObservedPoint, bits: number): PointRange {
  const range = fullRange(observed);
  for (let channel = 0; channel < point.channels; channel += 1) {
    const values = channelValues(observed.rows, channel, point.channels);
    const read = functions[point.readThrough?.(channel) ?? 'itself'];
    const target = values.map(read);
    const extremes = { low: observed.low[channel] ?? 0, high: observed.high[channel] ?? 0 };
    let best = { low: 1, high: 1, error: Number.POSITIVE_INFINITY };
    for (let sweep = 0; sweep < SWEEPS; sweep += 1)
      for (const end of ['low', 'high'] as const)
        for (const share of SHARES) {
          const tried = { ...best, [end]: share };
          const ends = { low: tried.low * extremes.low, high: tried.high * extremes.high };
          const error = roundingError(values, target, { ...ends, bits, read });
          if (error < best.error) best = { ...tried, error };
        }
    range.low[channel] = best.low * extremes.low;
    range.high[channel] = best.high * extremes.high;
  }
  return range;
}

function channelValues(rows: Float32Array, channel: number, channels: number): Float64Array {
  return Float64Array.from({ length: Math.floor(rows.length / channels) }, (_, row) => rows[row * channels + channel] ?? 0);
}

function roundingError(
  values: Float64Array,
  target: Float64Array,
  { low, high, bits, read }: { low: number; high: number; bits: number; read: (x: number) => number },
): number {
  const { scales, zeroPoints } = codesOf({ low: Float32Array.of(low), high: Float32Array.of(high) }, bits);
  const [scale = 1, zero = 0] = [scales[0], zeroPoints[0]];
  const top = 2 ** bits - 1;
  const table = Float64Array.from({ length: top + 1 }, (_, code) => read(scale * (code - zero)));
  let sum = 0;
  for (let at = 0; at < values.length; at += 1) {
    const code = Math.max(0, Math.min(top, Math.round((values[at] ?? 0) / scale) + zero));
    const error = (table[code] ?? 0) - (target[at] ?? 0);
    sum += error * error;
  }
  return sum;
}

/** The range with both ends times `factor`, for the channels from `from` to before `to`. */
export function stretched({ low, high }: PointRange, factor: number, { from, to }: { from: number; to: number }): PointRange {
  const times = (value: number, channel: number): number => (channel >= from && channel < to ? value * factor : value);
  return { low: low.map(times), high: high.map(times) };
}
