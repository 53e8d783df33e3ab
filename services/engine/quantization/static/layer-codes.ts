/** Weights and bias of an integer layer as codes: int8 per output channel, int32 bias on the scale of the products. */
import { float32Values } from '../../ir/index.js';
import type { ConvLayer } from '../../layers/conv-layers.js';
import type { DenseLayer } from '../../layers/dense-layers.js';
import { convolutionOrder, fromConvolutionOrder, isDepthwise } from '../kernel-order.js';
import { quantizePairSafe } from '../pair-safe-weights.js';
import { codeRanges, quantizeValue, roundHalfToEven } from '../quantization-parameters.js';
import { type QuantizedMatrix, quantizeWeights, transposed, type WeightMatrix } from '../weight-quantization.js';

export interface LayerCodes {
  /** Conv: as the float weight [M, C / group, ...kernel]; dense: [K, N]. */
  readonly codes: Int8Array;
  readonly dims: readonly number[];
  /** One per output channel, or one. */
  readonly scales: Float32Array;
  readonly bias: BiasCodes | null;
}

export interface BiasCodes {
  /** int32 codes with scale `inputScale * scales[c]`, zero point 0. */
  readonly codes: Int32Array;
  /** What the codes stand for, before rounding: for kernels that add the bias in float. */
  readonly real: Float32Array;
}

export interface WeightOptions {
  readonly perChannel: boolean;
  /** No pair of products may leave int16 on processors without VNNI. */
  readonly pairSafe: boolean;
  /** -64..64. */
  readonly reduceRange: boolean;
  readonly powerOfTwo: boolean;
}

/** Float weights of a layer, one row of K per output channel in the order in which the kernel adds, scale factors included. */
export interface LayerRows {
  readonly values: Float32Array;
  readonly channels: number;
  readonly depth: number;
}

export type Layer = ConvLayer | DenseLayer;

/** Rows of `layer`, or of other values in the layout of its weight; alpha of Gemm is part of them. */
export function layerRows(layer: Layer, values = float32Values(layer.weight.tensor)): LayerRows {
  if (layer.kind === 'conv')
    return { values: convolutionOrder(values, layer.weight.tensor.dims), channels: layer.channels, depth: layer.depth };
  const { channels, depth, alpha, reductionAxis } = layer;
  const rows = reductionAxis === 1 ? values.slice() : transposed(values, depth, channels);
  return { values: alpha === 1 ? rows : rows.map((value) => alpha * value), channels, depth };
}

/** The bias as one number per output channel, beta of Gemm included; null without bias. */
export function layerBias(layer: Layer): Float32Array | null {
  if (layer.kind === 'conv') return layer.bias && float32Values(layer.bias.tensor);
  const { bias, channels } = layer;
  if (!bias?.vector) return null;
  const source = float32Values(bias.vector.tensor);
  return Float32Array.from({ length: channels }, (_, at) => bias.factor * (source[source.length === 1 ? 0 : at] ?? 0));
}

/** True when the kernel of this layer adds pairs of products in int16 on x64 without VNNI. */
export function addsPairs(layer: Layer): boolean {
  return layer.kind === 'dense' || !isDepthwise(layer.weight.tensor.dims, layer.group);
}

/** What is known of the input of a layer, per channel. */
export interface InputStatistics {
  readonly mean: Float64Array;
  /** E[x^2] */
  readonly power: Float64Array;
}

export interface LayerQuantization {
  readonly weights: WeightOptions;
  /** Absent: every input counts alike, and the bias stays. */
  readonly statistics?: InputStatistics;
  /** Move the bias by what the rounded weights do to the mean of the result. */
  readonly correctBias: boolean;
  /** Chooses codes; default: quantizeRows. */
  readonly round?: RoundRows;
}

export type RoundRows = (rows: LayerRows, options: WeightOptions, importance?: Float64Array) => QuantizedMatrix;

/** Codes of a layer whose input has the scale `input.scale`. */
export function quantizeLayer(layer: Layer, input: { readonly scale: number }, how: LayerQuantization): LayerCodes {
  const rows = layerRows(layer);
  const { statistics, round = quantizeRows } = how;
  const options = { ...how.weights, pairSafe: how.weights.pairSafe && addsPairs(layer) };
  const importance = statistics && perProduct(layer, statistics.power);
  const bias = layerBias(layer);
  const quantized = withRoomForBias(rows, round(rows, options, importance), { inputScale: input.scale, bias });
  const means = how.correctBias && statistics ? perProduct(layer, statistics.mean) : undefined;
  const real = means ? correctedBias(rows, quantized, { means, bias }) : bias;
  const { dims } = layer.weight.tensor;
  return {
    codes: layer.kind === 'conv' ? fromConvolutionOrder(quantized.codes, dims) : transposed(quantized.codes, rows.channels, rows.depth),
    dims: layer.kind === 'conv' ? dims : [rows.depth, rows.channels],
    scales: quantized.scales,
    bias: real && { codes: biasCodes(real, quantized.scales, input.scale), real },
  };
}

/**
 * A statistic of the channels of the input, spread over the products of one row in kernel order: [...kernel, inputs of the group], one
 * block after the other for the groups. Undefined when the channels are not those that the weights expect.
 */
export function perProduct(layer: Layer, perChannel: Float64Array): Float64Array | undefined {
  if (layer.kind === 'dense') return perChannel.length === layer.depth ? perChannel : undefined;
  const inputs = layer.weight.tensor.dims[1] ?? 0;
  if (inputs * layer.group !== perChannel.length) return undefined;
  const blocks = new Float64Array(layer.depth * layer.group);
  for (let at = 0; at < blocks.length; at += 1) {
    const group = Math.floor(at / layer.depth);
    blocks[at] = perChannel[group * inputs + (at % inputs)] ?? 0;
  }
  return blocks;
}

/**
 * Fast bias correction (methods.md 3.2; Nagel et al. 2019, arXiv 1906.04721, section 4.2): b_c += sum_k (w_ck - s_c q_ck) E[x_k].
 * Borders of padded convolutions see zeros instead of x, which the mean does not tell.
 */
function correctedBias(
  { values, channels, depth }: LayerRows,
  { codes, scales }: QuantizedMatrix,
  { means, bias }: { means: Float64Array; bias: Float32Array | null },
): Float32Array {
  const perBlock = channels / (means.length / depth);
  return Float32Array.from({ length: channels }, (_, channel) => {
    const scale = scales[scales.length === 1 ? 0 : channel] ?? 1;
    const block = Math.floor(channel / perBlock) * depth;
    let shift = 0;
    for (let k = 0, at = channel * depth; k < depth; k += 1, at += 1)
      shift += ((values[at] ?? 0) - scale * (codes[at] ?? 0)) * (means[block + k] ?? 0);
    return (bias?.[channel] ?? 0) + shift;
  });
}

function matrixOf({ values, channels, depth }: LayerRows): WeightMatrix {
  return { values, rows: channels, columns: depth, reductionAxis: 1 };
}

/** Rounding to nearest; pair-safe rows get the scale and the codes with the least error, weighted by `importance`. */
export function quantizeRows(rows: LayerRows, options: WeightOptions, importance?: Float64Array): QuantizedMatrix {
  const { perChannel } = options;
  const isPairSafe = options.pairSafe && !options.reduceRange && !options.powerOfTwo;
  const quantized = isPairSafe
    ? quantizePairSafe(matrixOf(rows), { perChannel, ...(importance ? { importance } : {}) })
    : quantizeWeights(matrixOf(rows), { perChannel, pairSafe: options.pairSafe && !options.reduceRange });
  if (!options.reduceRange && !options.powerOfTwo) return quantized;
  const reduction = options.reduceRange ? codeRanges.int8Symmetric.max / REDUCED_MAX : 1;
  const scales = quantized.scales.map((scale) => (options.powerOfTwo ? 2 ** Math.ceil(Math.log2(scale * reduction)) : scale * reduction));
  return { codes: codesFor(rows, scales), scales };
}

/** 7-bit weights: two products of 255 * 64 stay below 32,767 (methods.md 2.3). */
const REDUCED_MAX = 64;

/** The nearest codes at given scales. */
export function codesFor({ values, channels, depth }: LayerRows, scales: Float32Array): Int8Array {
  const codes = new Int8Array(values.length);
  for (let channel = 0; channel < channels; channel += 1) {
    const parameters = { scale: scales[scales.length === 1 ? 0 : channel] ?? 1, zeroPoint: 0 };
    for (let at = channel * depth; at < (channel + 1) * depth; at += 1)
      codes[at] = quantizeValue(values[at] ?? 0, parameters, codeRanges.int8Symmetric);
  }
  return codes;
}

/**
 * Least legal scale of an int32 bias: 1.0001 * 2 |b| / (2^32 - 2); where the product of scales is below it, the weight scale
 * grows (methods.md 2.4), which only weights that are tiny against the bias meet.
 */
function withRoomForBias(
  rows: LayerRows,
  quantized: QuantizedMatrix,
  { inputScale, bias }: { inputScale: number; bias: Float32Array | null },
): QuantizedMatrix {
  if (!bias) return quantized;
  const needed = (channel: number): number => (1.0001 * 2 * Math.abs(bias[channel] ?? 0)) / (2 ** 32 - 2) / inputScale;
  const isPerChannel = quantized.scales.length > 1;
  const largest = bias.reduce((max, _, channel) => Math.max(max, needed(channel)), 0);
  const scales = quantized.scales.map((scale, channel) => Math.max(scale, isPerChannel ? needed(channel) : largest));
  return scales.every((scale, channel) => scale === quantized.scales[channel]) ? quantized : { codes: codesFor(rows, scales), scales };
}

/** q = round(b / (s_x s_w[c])), clipped to int32; the product is a float32, as the runtime multiplies it. */
export function biasCodes(bias: Float32Array, scales: Float32Array, inputScale: number): Int32Array {
  return Int32Array.from(bias, (value, channel) => {
    const scale = biasScale(inputScale, scales, channel);
    return Math.max(-(2 ** 31), Math.min(2 ** 31 - 1, roundHalfToEven(value / scale)));
  });
}

export function biasScale(inputScale: number, scales: Float32Array, channel: number): number {
  return Math.fround(inputScale * (scales[scales.length === 1 ? 0 : channel] ?? 1));
}
