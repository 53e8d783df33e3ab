/** QLinearConv as the saturating kernel computes it. */
import { elementCount, type Node, type Tensor, tensorOf } from '../ir/index.js';
import { convolutionOrder, isDepthwise } from '../quantization/kernel-order.js';
import { type ConvolutionGeometry, convolutionGeometry, PatchReader } from './image-patches.js';
import { type Codes, codesOf, codeType, type Inputs, int32Values, perChannel, required, scalarOf } from './operand.js';
import { requantize } from './requantization.js';
import { correctZeroPoints, PreparedWeightCache, type PreparedWeights, prepareWeights, saturatingProduct } from './saturating-product.js';

/** Output pixels computed at once: bounds the memory for their patches. */
const PIXELS_AT_ONCE = 256;

const cache = new PreparedWeightCache();

/** The rows of each group. */
function prepared(weight: Tensor, group: number, saturates: boolean): readonly PreparedWeights[] {
  return cache.get(weight, `${group} ${saturates}`, () => {
    const rows = convolutionOrder(codesOf(weight), weight.dims);
    const size = rows.length / group;
    const channels = (weight.dims[0] ?? 0) / group;
    return Array.from({ length: group }, (_, at) => prepareWeights(rows.subarray(at * size, (at + 1) * size), channels, saturates));
  });
}

/** Inputs: x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, bias. Scale: x_scale * w_scale / y_scale in float32. */
export function emulatedConvolution(node: Node, inputs: Inputs): Tensor {
  const x = required(node, inputs, 0);
  const weight = required(node, inputs, 3);
  const geometry = convolutionGeometry(node, x.dims, weight.dims);
  const channels = weight.dims[0] ?? 0;
  const saturates = x.dataType === 'uint8' && weight.dataType === 'int8' && !isDepthwise(weight.dims, geometry.group);
  const sums = convolutionSums(codesOf(x), prepared(weight, geometry.group, saturates), {
    geometry,
    channels,
    zeroPoint: scalarOf(inputs[2], 0),
    weightZeroPoints: perChannel(node, inputs[5], channels, 0),
  });
  const [xScale, yScale] = [scalarOf(inputs[1], 1), scalarOf(inputs[6], 1)];
  const scales = Float32Array.from(perChannel(node, inputs[4], channels, 1), (scale) => Math.fround(xScale * scale) / yScale);
  const yZeroPoint = required(node, inputs, 7);
  const type = codeType(yZeroPoint);
  const bias = inputs[8] ? int32Values(inputs[8]) : null;
  const codes = requantize(sums, channels, { scales, bias, zeroPoint: scalarOf(yZeroPoint, 0), type });
  return imageTensor(codes, geometry, { channels, type });
}

interface Sums {
  readonly geometry: ConvolutionGeometry;
  /** Output channels. */
  readonly channels: number;
  readonly zeroPoint: number;
  readonly weightZeroPoints: readonly number[];
}

/** [batch, output pixels, output channels]; padding holds the zero point of the input. */
function convolutionSums(
  x: Codes,
  groups: readonly PreparedWeights[],
  { geometry, channels, zeroPoint, weightZeroPoints }: Sums,
): Int32Array {
  const reader = new PatchReader(geometry);
  const pixels = elementCount(geometry.output);
  const perGroup = channels / groups.length;
  const sums = new Int32Array(geometry.batch * pixels * channels);
  const buffer = x instanceof Int8Array ? new Int8Array(PIXELS_AT_ONCE * reader.length) : new Uint8Array(PIXELS_AT_ONCE * reader.length);
  for (let image = 0; image < geometry.batch; image += 1) {
    for (const [group, weights] of groups.entries()) {
      for (let from = 0; from < pixels; from += PIXELS_AT_ONCE) {
        const to = Math.min(pixels, from + PIXELS_AT_ONCE);
        const patches = buffer.subarray(0, (to - from) * reader.length);
        reader.read(x, patches, { image, group, from, to, padding: zeroPoint });
        const product = saturatingProduct(patches, to - from, weights);
        const zeros = weightZeroPoints.length === 1 ? weightZeroPoints : weightZeroPoints.slice(group * perGroup, (group + 1) * perGroup);
        correctZeroPoints(product, { activations: patches, activationZeroPoint: zeroPoint, weights, weightZeroPoints: zeros });
        for (let row = 0; row < to - from; row += 1) {
          sums.set(product.subarray(row * perGroup, (row + 1) * perGroup), (image * pixels + from + row) * channels + group * perGroup);
        }
      }
    }
  }
  return sums;
}

/** From [batch, pixels, channels] to the layout of the operator. */
function imageTensor(
  codes: Codes,
  geometry: ConvolutionGeometry,
  { channels, type }: { channels: number; type: 'uint8' | 'int8' },
): Tensor {
  const { batch, output, isChannelsLast } = geometry;
  if (isChannelsLast) return tensorOf(type, [batch, ...output, channels], codes);
  const pixels = elementCount(output);
  const turned = codes.slice();
  for (let image = 0; image < batch; image += 1) {
    const base = image * pixels * channels;
    for (let pixel = 0; pixel < pixels; pixel += 1) {
      for (let channel = 0; channel < channels; channel += 1) {
        turned[base + channel * pixels + pixel] = codes[base + pixel * channels + channel] as number;
      }
    }
  }
  return tensorOf(type, [batch, channels, ...output], turned);
}
