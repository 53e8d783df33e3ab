/** Weight codes as the integer kernels of the runtime walk them: one row per output channel, neighbours along K side by side. */
import { elementCount } from '../ir/index.js';

/** Row-major [channels, length]; pairs are (0, 1), (2, 3), ... of each row. */
export interface KernelRows {
  readonly codes: Int8Array;
  readonly channels: number;
  readonly length: number;
}

type Elements = Int8Array | Uint8Array | Float32Array;

/**
 * Convolution weights [M, C / group, spatial...] to [M, spatial..., C / group]: the runtime transposes images to NHWC and
 * walks the kernel, then the channels (docs/decisions/0010; seen for 1 to 3 dimensions, groups, both levels).
 */
export function convolutionOrder<T extends Elements>(values: T, dims: readonly number[]): T {
  const [outputs = 0, inputs = 0, ...spatial] = dims;
  const kernel = elementCount(spatial);
  const ordered = values.slice() as T;
  for (let output = 0, to = 0; output < outputs; output += 1) {
    for (let tap = 0; tap < kernel; tap += 1) {
      for (let input = 0; input < inputs; input += 1, to += 1) ordered[to] = values[(output * inputs + input) * kernel + tap] ?? 0;
    }
  }
  return ordered;
}

/** The way back of convolutionOrder: [M, spatial..., C / group] to `dims` = [M, C / group, spatial...]. */
export function fromConvolutionOrder<T extends Elements>(values: T, dims: readonly number[]): T {
  const [outputs = 0, inputs = 0, ...spatial] = dims;
  const kernel = elementCount(spatial);
  const restored = values.slice() as T;
  for (let output = 0, from = 0; output < outputs; output += 1) {
    for (let tap = 0; tap < kernel; tap += 1) {
      for (let input = 0; input < inputs; input += 1, from += 1) restored[(output * inputs + input) * kernel + tap] = values[from] ?? 0;
    }
  }
  return restored;
}

/** The rows of convolution weights. */
export function convolutionRows(codes: Int8Array, dims: readonly number[]): KernelRows {
  return { codes: convolutionOrder(codes, dims), channels: dims[0] ?? 0, length: elementCount(dims.slice(1)) };
}

/** The rows of a stack of matrices [..., K, N], or [..., N, K] when `isTransposed`. */
export function matrixRows(codes: Int8Array, dims: readonly number[], isTransposed = false): KernelRows {
  const [rows = 1, columns = 1] = dims.slice(-2);
  if (isTransposed) return { codes, channels: codes.length / Math.max(1, columns), length: columns };
  const size = rows * columns;
  const ordered = new Int8Array(codes.length);
  for (let at = 0; at < codes.length; at += size) {
    for (let k = 0; k < rows; k += 1) {
      for (let n = 0; n < columns; n += 1) ordered[at + n * rows + k] = codes[at + k * columns + n] ?? 0;
    }
  }
  return { codes: ordered, channels: codes.length / Math.max(1, rows), length: rows };
}

/** Convolutions with one input and one output channel per group have a kernel of their own, which widens before it adds. */
export function isDepthwise(dims: readonly number[], group: number): boolean {
  return dims[0] === group && dims[1] === 1;
}
