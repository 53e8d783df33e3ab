/** The geometry of a convolution, and its input laid out as the integer kernel reads it: one row per output pixel, NHWC order. */
import { elementCount, intAttribute, intsAttribute, type Node, stringAttribute } from '../ir/index.js';

export interface ConvolutionGeometry {
  readonly batch: number;
  readonly channels: number;
  readonly group: number;
  readonly isChannelsLast: boolean;
  /** Spatial axes, any number of them. */
  readonly input: readonly number[];
  readonly kernel: readonly number[];
  readonly output: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly padsBefore: readonly number[];
}

/** Sizes of a Conv, QLinearConv or ConvInteger on an input of `dims` with weights of `weightDims` [M, C / group, spatial...]. */
export function convolutionGeometry(node: Node, dims: readonly number[], weightDims: readonly number[]): ConvolutionGeometry {
  const isChannelsLast = intAttribute(node, 'channels_last', 0) === 1;
  const kernel = weightDims.slice(2);
  const input = isChannelsLast ? dims.slice(1, -1) : dims.slice(2);
  const ones = kernel.map(() => 1);
  const strides = intsAttribute(node, 'strides', ones);
  const dilations = intsAttribute(node, 'dilations', ones);
  const axes = input.map((size, axis) =>
    axisGeometry({
      size,
      span: ((kernel[axis] ?? 1) - 1) * (dilations[axis] ?? 1) + 1,
      stride: strides[axis] ?? 1,
      autoPad: stringAttribute(node, 'auto_pad', 'NOTSET'),
      pads: [intsAttribute(node, 'pads', [])[axis] ?? 0, intsAttribute(node, 'pads', [])[axis + input.length] ?? 0],
    }),
  );
  return {
    batch: dims[0] ?? 0,
    channels: (isChannelsLast ? dims.at(-1) : dims[1]) ?? 0,
    group: intAttribute(node, 'group', 1),
    isChannelsLast,
    ...{ input, kernel, strides, dilations },
    output: axes.map(({ output }) => output),
    padsBefore: axes.map(({ before }) => before),
  };
}

interface Axis {
  readonly size: number;
  readonly span: number;
  readonly stride: number;
  readonly autoPad: string;
  readonly pads: readonly [number, number];
}

/** ONNX Conv: out = floor((in + pads - span) / stride) + 1; SAME pads so that out = ceil(in / stride). */
function axisGeometry({ size, span, stride, autoPad, pads }: Axis): { readonly output: number; readonly before: number } {
  if (autoPad === 'SAME_UPPER' || autoPad === 'SAME_LOWER') {
    const output = Math.ceil(size / stride);
    const total = Math.max(0, (output - 1) * stride + span - size);
    return { output, before: autoPad === 'SAME_UPPER' ? total >> 1 : total - (total >> 1) };
  }
  const [before, after] = autoPad === 'VALID' ? [0, 0] : pads;
  return { output: Math.floor((size + before + after - span) / stride) + 1, before };
}

/** Writes the patches of output pixels `from` to `to` of one image and group: rows of [kernel..., C / group], padded with `padding`. */
export class PatchReader {
  private readonly perGroup: number;
  private readonly channelStride: number;
  private readonly pixelStride: number;
  private readonly imageSize: number;
  /** Kernel taps as multi-indices. */
  private readonly taps: readonly (readonly number[])[];

  constructor(private readonly geometry: ConvolutionGeometry) {
    const pixels = elementCount(geometry.input);
    this.perGroup = geometry.channels / geometry.group;
    this.channelStride = geometry.isChannelsLast ? 1 : pixels;
    this.pixelStride = geometry.isChannelsLast ? geometry.channels : 1;
    this.imageSize = pixels * geometry.channels;
    this.taps = indices(geometry.kernel);
  }

  get length(): number {
    return this.taps.length * this.perGroup;
  }

  read(codes: Uint8Array | Int8Array, patches: Uint8Array | Int8Array, { image, group, from, to, padding }: PatchRange): void {
    const base = image * this.imageSize + group * this.perGroup * this.channelStride;
    let at = 0;
    for (let pixel = from; pixel < to; pixel += 1) {
      const position = multiIndex(pixel, this.geometry.output);
      for (const tap of this.taps) {
        const source = this.sourcePixel(position, tap);
        const start = base + source * this.pixelStride;
        for (let channel = 0; channel < this.perGroup; channel += 1, at += 1) {
          patches[at] = source < 0 ? padding : (codes[start + channel * this.channelStride] as number);
        }
      }
    }
  }

  /** Index of the input pixel under a tap; -1 in the padding. */
  private sourcePixel(position: readonly number[], tap: readonly number[]): number {
    const { input, strides, dilations, padsBefore } = this.geometry;
    let pixel = 0;
    for (let axis = 0; axis < input.length; axis += 1) {
      const size = input[axis] as number;
      const at =
        (position[axis] as number) * (strides[axis] as number) -
        (padsBefore[axis] as number) +
        (tap[axis] as number) * (dilations[axis] as number);
      if (at < 0 || at >= size) return -1;
      pixel = pixel * size + at;
    }
    return pixel;
  }
}

export interface PatchRange {
  readonly image: number;
  readonly group: number;
  readonly from: number;
  readonly to: number;
  readonly padding: number;
}

function multiIndex(flat: number, sizes: readonly number[]): number[] {
  const index = sizes.map(() => 0);
  let rest = flat;
  for (let axis = sizes.length - 1; axis >= 0; axis -= 1) {
    const size = sizes[axis] as number;
    index[axis] = rest % size;
    rest = Math.floor(rest / size);
  }
  return index;
}

function indices(sizes: readonly number[]): number[][] {
  return Array.from({ length: elementCount(sizes) }, (_, flat) => multiIndex(flat, sizes));
}
