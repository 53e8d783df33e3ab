/** The gradient of the weight of a convolution: correlations of its input with the gradient of its output. */
import { attributeOf, elementCount, type GraphWriter, type Value } from '../../ir/index.js';
import type { ConvGeometry } from '../conv-geometry.js';
import { fromRows, isDepthwise } from './convolution-depthwise.js';
import { weightGradientByTaps } from './convolution-taps.js';

/**
 * dW[m, c, k] = sum over n and o of g[n, m, o] x[n, c, o s + k d - p].
 * `x`: [N, C, ...], `gradient`: [N, M, ...]; the result is [M, C / group, ...].
 */
export function weightGradient(write: GraphWriter, geometry: ConvGeometry, x: Value, gradient: Value): Value {
  const byTaps = weightGradientByTaps(write, geometry, x, gradient);
  if (byTaps) return byTaps;
  return forms[weightGradientForm(geometry)](write, geometry, x, gradient);
}

/**
 * 'columns' copies x once per element of the kernel, 'shifts' once per row of the kernel and g once per column: of a 3x3
 * kernel 6 copies instead of 9, and larger products. ms for N 64 (Xeon AVX512, 2 threads): 16 -> 16 channels of 32x32 11.4 and
 * 5.6, 64 -> 64 of 8x8 4.0 and 3.7, 3 -> 128 by 4x4 of stride 4 .80 and .50; the other way round where x is thin: 3 -> 16
 * of 32x32 1.4 and 2.9, 1 -> 64 by 5x5 .41 and 3.8. Strides together with dilations have no phases.
 */
export function weightGradientForm(geometry: ConvGeometry): keyof typeof forms {
  const { channelsPerGroup, kernel, strides, dilations } = geometry;
  if (isDepthwise(geometry)) return 'rows';
  const strided = strides.some((stride) => stride > 1);
  if (strided && dilations.some((dilation) => dilation > 1)) return 'columns';
  if (strided && kernel.every((size) => size === 1)) return 'columns';
  const copied = kernel.some((size, axis) => size > (strides[axis] ?? 1));
  return copied && channelsPerGroup <= THIN ? 'columns' : 'shifts';
}

const THIN = 4;

const forms = { columns: fromColumns, shifts: fromShifts, rows: fromRows } as const;

const concat = (write: GraphWriter, values: readonly Value[], axis: number): Value =>
  values.length === 1 ? (values[0] as Value) : write.node('Concat', values, { axis: attributeOf.int(axis) });

/** Every multi-index below `sizes`, the last axis fastest. */
function indices(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>((all, size) => all.flatMap((head) => Array.from({ length: size }, (_, at) => [...head, at])), [[]]);
}

/** Zeros around the spatial axes; negative sizes crop. */
function pad(write: GraphWriter, value: Value, begin: readonly number[], end: readonly number[]): Value {
  if ([...begin, ...end].every((size) => size === 0)) return value;
  return write.node('Pad', [value, write.ints([0, 0, ...begin, 0, 0, ...end])]);
}

/** im2col: per group one product of g [M, P] and the columns [K C, P] of every sample, summed over the samples. */
function fromColumns(write: GraphWriter, geometry: ConvGeometry, x: Value, gradient: Value): Value {
  const { batch, group, channelsPerGroup, outputsPerGroup, kernel, output, strides, dilations, padsBegin, padsEnd } = geometry;
  const padded = pad(write, x, padsBegin, padsEnd);
  const axes = kernel.map((_, axis) => axis + 2);
  const offsets = indices(kernel);
  const columns = offsets.map((offset) => {
    const starts = offset.map((at, axis) => at * (dilations[axis] ?? 1));
    const ends = starts.map((start, axis) => start + ((output[axis] ?? 1) - 1) * (strides[axis] ?? 1) + 1);
    const isWhole = offsets.length === 1 && strides.every((stride) => stride === 1);
    const part = isWhole
      ? padded
      : write.node('Slice', [padded, write.ints(starts), write.ints(ends), write.ints(axes), write.ints(strides)]);
    return group === 1 ? part : write.node('Reshape', [part, write.ints([batch, group, channelsPerGroup, ...output])]);
  });
  const positions = elementCount(output);
  const joined = concat(write, columns, group === 1 ? 1 : 2);
  const rows = write.node('Reshape', [joined, write.ints([batch, group, offsets.length * channelsPerGroup, positions])]);
  const g = write.node('Reshape', [gradient, write.ints([batch, group, outputsPerGroup, positions])]);
  const products = write.microsoft('FusedMatMul', [g, rows], { transB: attributeOf.int(1) });
  const sum = sumOfSamples(write, products);
  const split = write.node('Reshape', [sum, write.ints([group * outputsPerGroup, offsets.length, channelsPerGroup])]);
  const ordered = write.node('Transpose', [split], { perm: attributeOf.ints([0, 2, 1]) });
  return write.node('Reshape', [ordered, write.ints([group * outputsPerGroup, channelsPerGroup, ...kernel])]);
}

const sumOfSamples = (write: GraphWriter, products: Value): Value =>
  write.node('ReduceSum', [products, write.ints([0])], { keepdims: attributeOf.int(0) });

/**
 * With rows of y padded to the width of x, a shift of the kernel along the last axis is a shift of g inside its row, and a shift
 * along the others is a shift of x by whole rows. All shifts of x against all of g are one product per sample: [I C, L] by
 * [J M, L], L the padded y. A stride s first splits x into s phases per axis: channels of a convolution without stride whose
 * kernel is 1/s as large.
 */
function fromShifts(write: GraphWriter, geometry: ConvGeometry, x: Value, gradient: Value): Value {
  const { batch, group, channelsPerGroup, outputsPerGroup, kernel, output, strides } = geometry;
  const taps = kernel.map((size, axis) => Math.ceil(size / (strides[axis] ?? 1)));
  const dilations = geometry.dilations;
  const reach = taps.map((size, axis) => (output[axis] ?? 1) + (size - 1) * (dilations[axis] ?? 1));
  const phases = elementCount(strides);
  const last = kernel.length - 1;
  const frame = [...output.slice(0, -1), reach[last] ?? 1];
  const xs = rowShifts(write, { geometry, taps, frame, x: phasesOf(write, geometry, x, reach) });
  const gs = columnShifts(write, {
    gradient: grouped(write, geometry, gradient),
    count: taps[last] ?? 1,
    dilation: dilations[last] ?? 1,
    rank: kernel.length,
  });
  const length = elementCount(frame);
  const shifts = elementCount(taps.slice(0, -1));
  const left = write.node('Reshape', [concat(write, xs, 2), write.ints([batch, group, shifts * phases * channelsPerGroup, length])]);
  const right = write.node('Reshape', [concat(write, gs, 2), write.ints([batch, group, gs.length * outputsPerGroup, length])]);
  return ordered(write, geometry, taps, sumOfSamples(write, write.microsoft('FusedMatMul', [left, right], { transB: attributeOf.int(1) })));
}

/** [N, group, C / group, ...]. */
function grouped(write: GraphWriter, { batch, group, outputsPerGroup, output }: ConvGeometry, gradient: Value): Value {
  return write.node('Reshape', [gradient, write.ints([batch, group, outputsPerGroup, ...output])]);
}

/** x padded and split into phases: [N, group, s..., C / group, ...] as [N, group, s... C / group, ...reach]. */
function phasesOf(write: GraphWriter, geometry: ConvGeometry, x: Value, reach: readonly number[]): Value {
  const { batch, group, channelsPerGroup, strides, input, padsBegin } = geometry;
  const end = reach.map((size, axis) => size * (strides[axis] ?? 1) - (input[axis] ?? 0) - (padsBegin[axis] ?? 0));
  const padded = pad(write, x, padsBegin, end);
  const channels = elementCount(strides) * channelsPerGroup;
  const shape = write.ints([batch, group, channels, ...reach]);
  if (strides.every((stride) => stride === 1)) return write.node('Reshape', [padded, shape]);
  if (group === 1 && strides.length === 2 && strides[0] === strides[1]) {
    return write.node('Reshape', [write.node('SpaceToDepth', [padded], { blocksize: attributeOf.int(strides[0] ?? 1) }), shape]);
  }
  const split = write.node('Reshape', [
    padded,
    write.ints([batch, group, channelsPerGroup, ...reach.flatMap((size, axis) => [size, strides[axis] ?? 1])]),
  ]);
  const perm = [0, 1, ...strides.map((_, axis) => 4 + 2 * axis), 2, ...strides.map((_, axis) => 3 + 2 * axis)];
  return write.node('Reshape', [write.node('Transpose', [split], { perm: attributeOf.ints(perm) }), shape]);
}

interface RowShifts {
  readonly geometry: ConvGeometry;
  readonly taps: readonly number[];
  readonly frame: readonly number[];
  readonly x: Value;
}

function rowShifts(write: GraphWriter, { geometry, taps, frame, x }: RowShifts): Value[] {
  const rows = taps.slice(0, -1);
  const axes = rows.map((_, axis) => axis + 3);
  return indices(rows).map((offset) => {
    if (elementCount(rows) === 1) return x;
    const starts = offset.map((at, axis) => at * (geometry.dilations[axis] ?? 1));
    const ends = starts.map((start, axis) => start + (frame[axis] ?? 1));
    return write.node('Slice', [x, write.ints(starts), write.ints(ends), write.ints(axes)]);
  });
}

interface ColumnShifts {
  readonly gradient: Value;
  readonly count: number;
  readonly dilation: number;
  readonly rank: number;
}

/** g moved right by 0, d, 2 d, ... inside rows that have room for all of it. */
function columnShifts(write: GraphWriter, { gradient, count, dilation, rank }: ColumnShifts): Value[] {
  if (count === 1) return [gradient];
  const zeros = Array.from({ length: rank + 2 }, () => 0);
  return Array.from({ length: count }, (_, at) =>
    write.node('Pad', [gradient, write.ints([...zeros, at * dilation, ...zeros, (count - 1 - at) * dilation])]),
  );
}

/** [group, I, s, C / group, J, M / group] to [M, C / group, ...kernel]; taps beyond the kernel are dropped. */
function ordered(write: GraphWriter, geometry: ConvGeometry, taps: readonly number[], sum: Value): Value {
  const { group, channelsPerGroup, outputsPerGroup, kernel, strides } = geometry;
  const rank = kernel.length;
  const rows = taps.slice(0, -1);
  const columns = taps[rank - 1] ?? 1;
  const split = write.node('Reshape', [sum, write.ints([group, ...rows, ...strides, channelsPerGroup, columns, outputsPerGroup])]);
  const tapAxis = (axis: number): number => (axis < rank - 1 ? 1 + axis : 2 * rank + 1);
  const spatial = kernel.flatMap((_, axis) => [tapAxis(axis), rank + axis]);
  const perm = [0, 2 * rank + 2, 2 * rank, ...spatial];
  const moved = write.node('Transpose', [split], { perm: attributeOf.ints(perm) });
  const whole = taps.map((size, axis) => size * (strides[axis] ?? 1));
  const joined = write.node('Reshape', [moved, write.ints([group * outputsPerGroup, channelsPerGroup, ...whole])]);
  if (whole.every((size, axis) => size === kernel[axis])) return joined;
  const axes = write.ints(kernel.map((_, axis) => axis + 2));
  return write.node('Slice', [joined, write.ints(kernel.map(() => 0)), write.ints(kernel), axes]);
}
