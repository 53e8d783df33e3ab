/** Sizes of a convolution, with every default and automatic padding resolved. */
import { intAttribute, intsAttribute, type Node, stringAttribute } from '../ir/index.js';

export interface ConvGeometry {
  readonly batch: number;
  readonly group: number;
  /** Channels of the larger map x, in all and per group. */
  readonly channels: number;
  readonly channelsPerGroup: number;
  /** Channels of the smaller map y. */
  readonly outputs: number;
  readonly outputsPerGroup: number;
  /** Spatial sizes of x and y, and of the kernel between them. */
  readonly input: readonly number[];
  readonly output: readonly number[];
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Zeros before x on each axis. */
  readonly padsBegin: readonly number[];
  /** Zeros behind x; what the kernel never reaches makes it smaller than the attribute, even negative. */
  readonly padsEnd: readonly number[];
}

interface Maps {
  /** [N, C, ...]: the map that the convolution reads. */
  readonly x: readonly number[];
  /** [N, M, ...]: the map that it makes. */
  readonly y: readonly number[];
  /** [M, C / group, ...]. */
  readonly weight: readonly number[];
}

/** y[o] reads x[o s - p + k d] (ONNX Conv). Of a ConvTranspose, x is its output and y its input: it is the adjoint of that Conv. */
export function convGeometry(node: Node, { x, y, weight }: Maps): ConvGeometry {
  const kernel = weight.slice(2);
  const strides = intsAttribute(node, 'strides', undefined) ?? kernel.map(() => 1);
  const dilations = intsAttribute(node, 'dilations', undefined) ?? kernel.map(() => 1);
  const group = intAttribute(node, 'group', 1);
  const [input, output] = [x.slice(2), y.slice(2)];
  /** Elements of the padded x that the kernel reaches. */
  const reach = kernel.map((size, axis) => ((output[axis] ?? 1) - 1) * (strides[axis] ?? 1) + (size - 1) * (dilations[axis] ?? 1) + 1);
  const padsBegin = beginnings(node, reach, input);
  return {
    ...{ group, kernel, strides, dilations, input, output, padsBegin },
    batch: x[0] ?? 1,
    channels: x[1] ?? 1,
    channelsPerGroup: (x[1] ?? 1) / group,
    outputs: y[1] ?? 1,
    outputsPerGroup: (y[1] ?? 1) / group,
    padsEnd: reach.map((size, axis) => size - (input[axis] ?? 0) - (padsBegin[axis] ?? 0)),
  };
}

/** SAME pads what the kernel reaches beyond x in halves, the odd one behind (SAME_UPPER) or before (SAME_LOWER). */
function beginnings(node: Node, reach: readonly number[], input: readonly number[]): readonly number[] {
  const mode = stringAttribute(node, 'auto_pad', 'NOTSET');
  if (mode === 'VALID') return reach.map(() => 0);
  if (mode === 'NOTSET') return intsAttribute(node, 'pads', undefined)?.slice(0, reach.length) ?? transposedBeginnings(node, reach, input);
  const total = reach.map((size, axis) => Math.max(0, size - (input[axis] ?? 0)));
  return total.map((size) => (mode === 'SAME_UPPER' ? Math.floor(size / 2) : Math.ceil(size / 2)));
}

/** ConvTranspose with `output_shape` and no pads: total = reach + output_padding - size, halved (ONNX ConvTranspose). */
function transposedBeginnings(node: Node, reach: readonly number[], input: readonly number[]): readonly number[] {
  if (!node.attributes.has('output_shape')) return reach.map(() => 0);
  const extra = intsAttribute(node, 'output_padding', undefined);
  return reach.map((size, axis) => {
    const total = size + (extra?.[axis] ?? 0) - (input[axis] ?? 0);
    return total - Math.floor(total / 2);
  });
}
