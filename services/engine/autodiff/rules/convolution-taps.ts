/** The gradient of the weight of a convolution, its shifted copies made by convolutions with kernels of ones and zeros. */
import { attributeOf, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';
import type { ConvGeometry } from '../conv-geometry.js';

/** A whole number of blocks of the runtime's convolutions. */
const BLOCK = 16;
/** Channels up to which every place of the kernel gets a copy of x, and g none. */
const THIN = 4;

/** How x and g are copied: taps of x [rows, columns] by one kernel, taps of g along the columns. */
interface Taps {
  readonly rows: number;
  readonly columns: number;
  readonly shifts: number;
  readonly frame: number;
  readonly end: readonly number[];
}

/**
 * dW[m, c, i, s u + r] = sum over n and o of g[n, m, o] x[n, c, o s + ...]: with rows of y that have room for the shifts u of
 * g, taps of x at (i, r) against shifts of g are one product per sample. A blocked convolution makes the copies on all threads,
 * borders included, where Pad, Slice and Concat use one: 16 -> 16 channels of 32x32, N 64, 3x3: the copies of x and g 7.7 ms by
 * Pad, Slice and Concat, 4.4 by convolutions (Xeon AVX512-VNNI, 2 threads, loaded). Null where the sizes do not fit.
 */
export function weightGradientByTaps(write: GraphWriter, geometry: ConvGeometry, x: Value, gradient: Value): Value | null {
  const { batch, channels, outputs, output, strides, dilations, padsBegin } = geometry;
  const taps = tapsOf(geometry);
  if (!taps) return null;
  const { rows, columns, shifts, frame, end } = taps;
  const isThin = channels <= THIN;
  const xTaps = copies(write, x, {
    ...{ channels, strides, kernel: [rows, columns], places: all(rows, columns) },
    dilations: isThin ? dilations : [dilations[0] ?? 1, 1],
    pads: [padsBegin[0] ?? 0, padsBegin[1] ?? 0, ...end],
  });
  const dilation = dilations[1] ?? 1;
  const margin = (shifts - 1) * dilation;
  const gTaps =
    shifts === 1
      ? gradient
      : copies(write, gradient, {
          ...{ channels: outputs, strides: [1, 1], kernel: [1, shifts], places: all(1, shifts).reverse() },
          ...{ dilations: [1, dilation], pads: [0, margin, 0, margin] },
        });
  const length = (output[0] ?? 1) * frame;
  const left = write.node('Reshape', [xTaps, write.ints([batch, rows * columns * channels, length])]);
  const right = write.node('Reshape', [gTaps, write.ints([batch, shifts * outputs, length])]);
  const products = write.microsoft('FusedMatMul', [left, right], { transB: attributeOf.int(1) });
  const sum = write.node('ReduceSum', [products, write.ints([0])], { keepdims: attributeOf.int(0) });
  return ordered(write, geometry, taps, sum);
}

function tapsOf({ group, channels, outputs, kernel, strides, dilations, input, output, padsBegin, padsEnd }: ConvGeometry): Taps | null {
  if (group !== 1 || kernel.length !== 2 || !isWhole(channels) || !isWhole(outputs)) return null;
  const [rows = 1, width = 1] = kernel;
  const [, stride = 1] = strides;
  if (padsBegin.some((size) => size < 0) || (padsEnd[0] ?? 0) < 0) return null;
  if (channels <= THIN) return (padsEnd[1] ?? 0) < 0 ? null : { rows, columns: width, shifts: 1, frame: output[1] ?? 1, end: padsEnd };
  if (rows * width === 1 && strides.every((size) => size === 1)) return null;
  if (strides.some((size) => size > 1) && dilations.some((size) => size > 1)) return null;
  const columns = Math.min(stride, width);
  const shifts = Math.ceil(width / stride);
  const frame = (output[1] ?? 1) + (shifts - 1) * (dilations[1] ?? 1);
  const end = (frame - 1) * stride + columns - (input[1] ?? 1) - (padsBegin[1] ?? 0);
  return end < 0 ? null : { rows, columns, shifts, frame, end: [padsEnd[0] ?? 0, end] };
}

const isWhole = (channels: number): boolean => channels < BLOCK || channels % BLOCK === 0;
const all = (rows: number, columns: number): number[] => Array.from({ length: rows * columns }, (_, at) => at);
/** Channels are copied in groups of a block, or all as one. */
const groupsOf = (channels: number): number => (channels < BLOCK ? 1 : channels / BLOCK);

interface Copies {
  readonly channels: number;
  readonly kernel: readonly number[];
  /** The place of the kernel that each copy takes. */
  readonly places: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** [N, C, ...] as [N, (group, copy, channel of the group), ...]. */
function copies(write: GraphWriter, value: Value, { channels, kernel, places, strides, dilations, pads }: Copies): Value {
  const group = groupsOf(channels);
  const own = channels / group;
  const size = (kernel[0] ?? 1) * (kernel[1] ?? 1);
  const ones = new Float32Array(channels * places.length * own * size);
  for (let at = 0; at < group; at++)
    for (const [copy, place] of places.entries())
      for (let channel = 0; channel < own; channel++)
        ones[(((at * places.length + copy) * own + channel) * own + channel) * size + place] = 1;
  const weight = write.constant(float32Tensor([channels * places.length, own, ...kernel], ones));
  return write.node('Conv', [value, weight], {
    kernel_shape: attributeOf.ints(kernel),
    strides: attributeOf.ints(strides),
    dilations: attributeOf.ints(dilations),
    group: attributeOf.int(group),
    pads: attributeOf.ints(pads),
  });
}

/** [C / c, row, column, c, M / m, shift, m] to [M, C, ...kernel]; places beyond the kernel are dropped. */
function ordered(write: GraphWriter, geometry: ConvGeometry, { rows, columns, shifts }: Taps, sum: Value): Value {
  const { channels, outputs, kernel } = geometry;
  const [x, g] = [groupsOf(channels), shifts === 1 ? 1 : groupsOf(outputs)];
  const split = write.node('Reshape', [sum, write.ints([x, rows, columns, channels / x, g, shifts, outputs / g])]);
  const moved = write.node('Transpose', [split], { perm: attributeOf.ints([4, 6, 0, 3, 1, 5, 2]) });
  const joined = write.node('Reshape', [moved, write.ints([outputs, channels, rows, shifts * columns])]);
  if (shifts * columns === kernel[1]) return joined;
  return write.node('Slice', [joined, write.ints([0]), write.ints([kernel[1] ?? 1]), write.ints([3])]);
}
