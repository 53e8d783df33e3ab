/** Peak signal-to-noise ratio and structural similarity of pictures, mean over the samples. */
import { EngineError } from '../engine-errors.js';
import type { Tensor } from '../ir/index.js';
import { RunningSum } from './running-sum.js';

export interface ImageOptions {
  /** Pixels on each side that are left out. Default 0. */
  readonly border?: number;
  /** Compare the luma of three channels R, G, B instead of the channels. Default false. */
  readonly luma?: boolean;
  /** The value of white; what lies outside 0 to white is clipped. Default 1. */
  readonly peak?: number;
}

/** One or more channels of one picture. */
export interface Picture {
  readonly channels: readonly Float64Array[];
  readonly rows: number;
  readonly columns: number;
}

/** Pictures that are alike to the last bit: the ratio would be infinite. */
const PSNR_MAX = 100;

/** PSNR = 10 log10(peak^2 / mean squared error) over all channels, in dB. */
export function psnr(a: Picture, b: Picture, peak: number): number {
  let squares = 0;
  let count = 0;
  for (const [index, channel] of a.channels.entries()) {
    const other = b.channels[index] ?? channel;
    for (let at = 0; at < channel.length; at++) squares += ((channel[at] ?? 0) - (other[at] ?? 0)) ** 2;
    count += channel.length;
  }
  return squares === 0 ? PSNR_MAX : Math.min(PSNR_MAX, 10 * Math.log10((peak * peak * count) / squares));
}

const WINDOW = 11;
const DEVIATION = 1.5;
const [K1, K2] = [0.01, 0.03];

const gaussian = ((): Float64Array => {
  const weights = Float64Array.from({ length: WINDOW }, (_, at) => Math.exp(-((at - (WINDOW - 1) / 2) ** 2) / (2 * DEVIATION ** 2)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
})();

/**
 * Wang et al., IEEE TIP 13(4), 2004: over windows of 11 x 11 with Gaussian weights of deviation 1.5 that lie inside the picture,
 * SSIM = (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2)), C1 = (.01 peak)^2, C2 = (.03 peak)^2; mean over windows
 * and channels. null for pictures that hold no window.
 */
export function ssim(a: Picture, b: Picture, peak: number): number | null {
  if (a.rows < WINDOW || a.columns < WINDOW) return null;
  const means = a.channels.map((channel, index) => channelSsim(channel, b.channels[index] ?? channel, { ...a, peak }));
  return means.reduce((sum, mean) => sum + mean, 0) / means.length;
}

function channelSsim(
  x: Float64Array,
  y: Float64Array,
  { rows, columns, peak }: Pick<Picture, 'rows' | 'columns'> & { peak: number },
): number {
  const filtered = (value: (at: number) => number): Float64Array => filter(value, rows, columns);
  const mx = filtered((at) => x[at] ?? 0);
  const my = filtered((at) => y[at] ?? 0);
  const xx = filtered((at) => (x[at] ?? 0) ** 2);
  const yy = filtered((at) => (y[at] ?? 0) ** 2);
  const xy = filtered((at) => (x[at] ?? 0) * (y[at] ?? 0));
  const [c1, c2] = [(K1 * peak) ** 2, (K2 * peak) ** 2];
  let sum = 0;
  for (let at = 0; at < mx.length; at++) {
    const [a, b] = [mx[at] ?? 0, my[at] ?? 0];
    const covariance = (xy[at] ?? 0) - a * b;
    const variances = (xx[at] ?? 0) - a * a + (yy[at] ?? 0) - b * b;
    sum += ((2 * a * b + c1) * (2 * covariance + c2)) / ((a * a + b * b + c1) * (variances + c2));
  }
  return sum / mx.length;
}

/** The Gaussian window over `value`, along the rows and then along the columns, where it lies inside. */
function filter(value: (at: number) => number, rows: number, columns: number): Float64Array {
  const width = columns - WINDOW + 1;
  const across = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      for (let tap = 0; tap < WINDOW; tap++) sum += (gaussian[tap] ?? 0) * value(row * columns + column + tap);
      across[row * width + column] = sum;
    }
  }
  const height = rows - WINDOW + 1;
  const result = new Float64Array(height * width);
  for (let at = 0; at < result.length; at++) {
    let sum = 0;
    for (let tap = 0; tap < WINDOW; tap++) sum += (gaussian[tap] ?? 0) * (across[at + tap * width] ?? 0);
    result[at] = sum;
  }
  return result;
}

/** Means over the samples that were added. */
export class ImageQuality {
  private readonly ratios = new RunningSum();
  private readonly similarities = new RunningSum();
  private count = 0;
  private windowed = 0;

  constructor(private readonly options: ImageOptions) {}

  /** `output` is [samples, channels, rows, columns] or without channels; `expected` has as many elements. */
  add(output: Tensor, { actual, expected, samples }: { actual: ArrayLike<number>; expected: ArrayLike<number>; samples: number }): void {
    const peak = this.options.peak ?? 1;
    const each = expected.length / samples;
    for (let sample = 0; sample < samples; sample++) {
      const [a, b] = [actual, expected].map((values) => pictureOf(values, output.dims, { start: sample * each, ...this.options }));
      if (!a || !b) continue;
      this.ratios.add(psnr(a, b, peak));
      this.count += 1;
      const similarity = ssim(a, b, peak);
      if (similarity === null) continue;
      this.similarities.add(similarity);
      this.windowed += 1;
    }
  }

  /** `ssim` only where all pictures hold a window. */
  get result(): { psnr?: number; ssim?: number } {
    if (this.count === 0) return {};
    return {
      psnr: this.ratios.value / this.count,
      ...(this.windowed === this.count ? { ssim: this.similarities.value / this.count } : {}),
    };
  }
}

/** One sample without its border, clipped to 0 to peak. Throws EngineError `dataset_invalid` when it is no picture or nothing is left. */
function pictureOf(
  values: ArrayLike<number>,
  dims: readonly number[],
  { start, border = 0, luma = false, peak = 1 }: ImageOptions & { readonly start: number },
): Picture {
  if (dims.length !== 3 && dims.length !== 4)
    throw new EngineError(
      'dataset_invalid',
      `PSNR and SSIM compare pictures, [samples, channels, rows, columns]; the output is [${dims.join(', ')}].`,
    );
  const [rows = 1, columns = 1] = dims.slice(-2);
  const count = dims.length === 4 ? (dims[1] ?? 1) : 1;
  const inner = { rows: rows - 2 * border, columns: columns - 2 * border };
  if (inner.rows < 1 || inner.columns < 1)
    throw new EngineError('dataset_invalid', `A border of ${border} pixels leaves nothing of a picture of ${rows} x ${columns}.`);
  const channels = Array.from({ length: count }, (_, channel) => {
    const first = start + (channel * rows + border) * columns + border;
    return Float64Array.from({ length: inner.rows * inner.columns }, (_, at) => {
      const value = values[first + Math.floor(at / inner.columns) * columns + (at % inner.columns)] ?? 0;
      return Math.min(peak, Math.max(0, value));
    });
  });
  return { channels: luma && count === 3 ? [lumaOf(channels, peak)] : channels, ...inner };
}

/** ITU-R BT.601 for R, G, B from 0 to 1: Y = (16 + 65.481 R + 128.553 G + 24.966 B) / 255, as papers on super-resolution have it. */
function lumaOf([red, green, blue]: readonly Float64Array[], peak: number): Float64Array {
  return Float64Array.from(
    red ?? [],
    (value, at) => (16 * peak + 65.481 * value + 128.553 * (green?.[at] ?? 0) + 24.966 * (blue?.[at] ?? 0)) / 255,
  );
}
