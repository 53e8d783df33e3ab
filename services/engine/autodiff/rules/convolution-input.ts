/** The gradient of the input of a convolution: another convolution, of the gradient of its output. */
import { attributeOf, type GraphWriter, type Value } from '../../ir/index.js';
import type { ConvGeometry } from '../conv-geometry.js';

const LAST = Number.MAX_SAFE_INTEGER;

/** dx[n, c, i] = sum over m and k with o s + k d - p = i of g[n, m, o] w[m, c, k]: the adjoint of y = Conv(x, w). */
export function inputGradient(write: GraphWriter, geometry: ConvGeometry, weight: Value, gradient: Value): Value {
  if (canFlip(geometry)) return byFlippedKernel(write, geometry, weight, gradient);
  return byPhases(write, geometry, weight, gradient) ?? byTransposedConv(write, geometry, weight, gradient);
}

/**
 * Stride s: dx[s q + r] = sum over u of g[q - u] w[r + p + s u] per axis (i = s q + r, o = q - u), a convolution without stride
 * from g to the s^2 phases r of every channel, which DepthToSpace interleaves; w is 0 outside. Zeros in w waste
 * 7 of 16 products of a 3x3 kernel of stride 2, but they run on blocked kernels: 32 channels of 16x16 to 16 of 32x32, N 64, on
 * a loaded Xeon AVX512-VNNI, 2 threads: ConvTranspose 3.2 ms, this 1 and .8 to interleave (blocked-convolution.ts).
 */
function byPhases(write: GraphWriter, geometry: ConvGeometry, weight: Value, gradient: Value): Value | null {
  const { group, channels, outputs, kernel, strides, dilations, input, output, padsBegin } = geometry;
  const stride = strides[0] ?? 1;
  const isPlain = group === 1 && kernel.length === 2 && strides.every((size) => size === stride) && dilations.every((size) => size === 1);
  if (!isPlain || stride === 1) return null;
  const axes = kernel.map((size, axis) => {
    const begin = padsBegin[axis] ?? 0;
    const first = Math.ceil(-(stride - 1 + begin) / stride);
    const last = Math.floor((size - 1 - begin) / stride);
    const taps = last - first + 1;
    const places = Math.ceil((input[axis] ?? 1) / stride);
    const before = -(begin + stride * first);
    return {
      taps,
      before,
      behind: stride * taps - before - size,
      begin: last,
      end: places + taps - 1 - (output[axis] ?? 1) - last,
      places,
    };
  });
  if (axes.some(({ begin, end }) => begin < 0 || end < 0)) return null;
  const [tall, wide] = axes as [(typeof axes)[0], (typeof axes)[0]];
  const pads = [0, 0, tall.before, wide.before, 0, 0, tall.behind, wide.behind];
  const padded = pads.some((size) => size > 0) ? write.node('Pad', [weight, write.ints(pads)]) : weight;
  const split = write.node('Reshape', [padded, write.ints([outputs, channels, tall.taps, stride, wide.taps, stride])]);
  const turned = write.node('Slice', [split, write.ints([-1, -1]), write.ints([-LAST, -LAST]), write.ints([2, 4]), write.ints([-1, -1])]);
  const moved = write.node('Transpose', [turned], { perm: attributeOf.ints([3, 5, 1, 0, 2, 4]) });
  const shape = [stride * stride * channels, outputs, tall.taps, wide.taps];
  const phases = write.node('Conv', [gradient, sized(write.node('Reshape', [moved, write.ints(shape)]), shape)], {
    kernel_shape: attributeOf.ints([tall.taps, wide.taps]),
    pads: attributeOf.ints([tall.begin, wide.begin, tall.end, wide.end]),
  });
  const joined = sized(write.node('DepthToSpace', [phases], { blocksize: attributeOf.int(stride) }), [
    ...[geometry.batch, channels],
    ...axes.map(({ places }) => places * stride),
  ]);
  if (axes.every(({ places }, axis) => places * stride === input[axis])) return joined;
  return write.node('Slice', [joined, write.ints([0, 0]), write.ints(input), write.ints([2, 3])]);
}

/** The forward kernels are faster than ConvTranspose: 7.8 and 16.6 ms for 16 -> 16 channels of 32x32, N 64 (Xeon AVX512, 2 threads). */
function canFlip({ strides, kernel, dilations, padsBegin, padsEnd }: ConvGeometry): boolean {
  const margins = kernel.map((size, axis) => (size - 1) * (dilations[axis] ?? 1));
  return (
    strides.every((stride) => stride === 1) &&
    margins.every((margin, axis) => (padsBegin[axis] ?? 0) <= margin && (padsEnd[axis] ?? 0) <= margin)
  );
}

/** Stride 1: g convolved with the kernel turned round, inputs and outputs swapped inside each group, pads d (k - 1) - p. */
function byFlippedKernel(write: GraphWriter, geometry: ConvGeometry, weight: Value, gradient: Value): Value {
  const { group, outputsPerGroup, channelsPerGroup, kernel, dilations, padsBegin, padsEnd } = geometry;
  const margin = (pads: readonly number[]) => kernel.map((size, axis) => (size - 1) * (dilations[axis] ?? 1) - (pads[axis] ?? 0));
  const turned = flipped(write, geometry, swapped(write, { group, outputsPerGroup, channelsPerGroup, kernel }, weight));
  return write.node('Conv', [gradient, sized(turned, [group * channelsPerGroup, outputsPerGroup, ...kernel])], {
    kernel_shape: attributeOf.ints(kernel),
    dilations: attributeOf.ints(dilations),
    group: attributeOf.int(group),
    pads: attributeOf.ints([...margin(padsBegin), ...margin(padsEnd)]),
  });
}

/** Known sizes let blockConvolutions choose. */
function sized(value: Value, shape: readonly number[]): Value {
  value.type ??= { kind: 'tensor', dataType: 'float32', shape };
  return value;
}

/** [M, C / group, ...] as [C, M / group, ...]. */
function swapped(
  write: GraphWriter,
  { group, outputsPerGroup, channelsPerGroup, kernel }: Pick<ConvGeometry, 'group' | 'outputsPerGroup' | 'channelsPerGroup' | 'kernel'>,
  weight: Value,
): Value {
  const rest = kernel.map((_, axis) => axis + 3);
  if (group === 1) return write.node('Transpose', [weight], { perm: attributeOf.ints([1, 0, ...kernel.map((_, axis) => axis + 2)]) });
  if (outputsPerGroup === 1 && channelsPerGroup === 1) return weight;
  const split = write.node('Reshape', [weight, write.ints([group, outputsPerGroup, channelsPerGroup, ...kernel])]);
  const moved = write.node('Transpose', [split], { perm: attributeOf.ints([0, 2, 1, ...rest]) });
  return write.node('Reshape', [moved, write.ints([group * channelsPerGroup, outputsPerGroup, ...kernel])]);
}

function flipped(write: GraphWriter, { kernel }: ConvGeometry, weight: Value): Value {
  const axes = kernel.flatMap((size, axis) => (size > 1 ? [axis + 2] : []));
  if (axes.length === 0) return weight;
  const all = (value: number): Value => write.ints(axes.map(() => value));
  return write.node('Slice', [weight, all(LAST), all(-LAST), write.ints(axes), all(-1)]);
}

function byTransposedConv(write: GraphWriter, geometry: ConvGeometry, weight: Value, gradient: Value): Value {
  const { group, kernel, strides, dilations, input, output, padsBegin } = geometry;
  const end = kernel.map((_, axis) => Math.max(0, geometry.padsEnd[axis] ?? 0));
  /** What the kernel never reached has no gradient: zeros behind. */
  const unreached = input.map((size, axis) => {
    const reach = ((output[axis] ?? 1) - 1) * (strides[axis] ?? 1) + ((kernel[axis] ?? 1) - 1) * (dilations[axis] ?? 1) + 1;
    return size + (padsBegin[axis] ?? 0) + (end[axis] ?? 0) - reach;
  });
  const isSmall = unreached.every((size, axis) => size < Math.max(strides[axis] ?? 1, dilations[axis] ?? 1));
  const reached = write.node('ConvTranspose', [gradient, weight], {
    kernel_shape: attributeOf.ints(kernel),
    strides: attributeOf.ints(strides),
    dilations: attributeOf.ints(dilations),
    group: attributeOf.int(group),
    pads: attributeOf.ints([...padsBegin, ...end]),
    output_padding: attributeOf.ints(isSmall ? unreached : unreached.map(() => 0)),
  });
  if (isSmall) return reached;
  const none = kernel.map(() => 0);
  return write.node('Pad', [reached, write.ints([0, 0, ...none, 0, 0, ...unreached])]);
}
