/** The gradient of the weight of a depthwise convolution: diagonals of products of rows. */
import { attributeOf, float32Tensor, type GraphWriter, type Value } from '../../ir/index.js';
import type { ConvGeometry } from '../conv-geometry.js';

/** Columns of x up to which the products, W / kw times the work that is needed, were measured. */
const COLUMNS_MAX = 128;

export function isDepthwise({ group, channels, outputs, kernel, input }: ConvGeometry): boolean {
  return group > 1 && channels === group && outputs === group && kernel.length === 2 && (input[1] ?? 0) <= COLUMNS_MAX;
}

/**
 * dW[c, i, j] = sum over n and (o, q) of g[n, c, o, q] x[n, c, o s + i d - p, q s + j d - p]: with X_i the rows of x that the
 * kernel's row i meets, all samples below each other, X_i^T g [W, ow] holds every pair of columns, and j picks those that meet:
 * a product with a mask of ones, which knows strides, dilations and pads of the columns. Sums of the least times of its kernels,
 * ms (Xeon AVX512-VNNI, 2 threads, not idle), im2col, shifts, a Mul and a ReduceSum per place, and this: 64 channels of 16x16,
 * N 64, 3x3: 24, 10, 8.5, 3.1; with stride 2: 7.1, 9.0, 6.7, 2.3; 32 of 56x56, N 16: 22, 12, 11, 6.7; 32 of 112x112, N 8: 54, 32,
 * 28, 27.
 */
export function fromRows(write: GraphWriter, geometry: ConvGeometry, x: Value, gradient: Value): Value {
  const { batch, group, kernel, input, output, strides, dilations, padsBegin, padsEnd } = geometry;
  const [height = 1, width = 1] = output;
  const columns = input[1] ?? 1;
  const [stride = 1, dilation = 1] = [strides[0], dilations[0]];
  const byChannel = (value: Value): Value => write.node('Transpose', [value], { perm: attributeOf.ints([1, 0, 2, 3]) });
  const pads = [padsBegin[0] ?? 0, padsEnd[0] ?? 0] as const;
  const padded = pads.some((size) => size !== 0) ? write.node('Pad', [x, write.ints([0, 0, pads[0], 0, 0, 0, pads[1], 0])]) : x;
  const moved = byChannel(padded);
  const right = write.node('Reshape', [byChannel(gradient), write.ints([group, batch * height, width])]);
  const products = Array.from({ length: kernel[0] ?? 1 }, (_, row) => {
    const start = row * dilation;
    const end = start + (height - 1) * stride + 1;
    const rows = write.node('Slice', [moved, write.ints([start]), write.ints([end]), write.ints([2]), write.ints([stride])]);
    const left = write.node('Reshape', [rows, write.ints([group, batch * height, columns])]);
    return write.microsoft('FusedMatMul', [left, right], { transA: attributeOf.int(1) });
  });
  const all = products.length === 1 ? (products[0] as Value) : write.node('Concat', products, { axis: attributeOf.int(1) });
  const pairs = write.node('Reshape', [all, write.ints([group * products.length, columns * width])]);
  const mask = write.constant(float32Tensor([columns * width, kernel[1] ?? 1], meetings(geometry)));
  return write.node('Reshape', [write.node('MatMul', [pairs, mask]), write.ints([group, 1, ...kernel])]);
}

/** [W, ow, kw]: 1 where column w = q s + j d - p. */
function meetings({ kernel, input, output, strides, dilations, padsBegin }: ConvGeometry): Float32Array {
  const [columns = 1, width = 1, size = 1] = [input[1], output[1], kernel[1]];
  const mask = new Float32Array(columns * width * size);
  for (let q = 0; q < width; q++)
    for (let j = 0; j < size; j++) {
      const w = q * (strides[1] ?? 1) + j * (dilations[1] ?? 1) - (padsBegin[1] ?? 0);
      if (w >= 0 && w < columns) mask[(w * width + q) * size + j] = 1;
    }
  return mask;
}
