/** Rounding of weights for the least error of the products with the inputs seen: scale search, GPTQ, coordinate descent. */
import type { Model } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { convolutionWindow, type GramLayer, type GramMatrix, gramMatrices } from '../../normal-equations/gram-matrices.js';
import { adaroundRound } from '../adaround.js';
import { roundWithHessian } from '../hessian-rounding.js';
import { convolutionOrder } from '../kernel-order.js';
import { codesPairSafe } from '../pair-safe-weights.js';
import { canSaturate } from '../saturation.js';
import type { QuantizedMatrix } from '../weight-quantization.js';
import type { IntegerUnit } from './integer-units.js';
import { codesFor, type Layer, type LayerRows, quantizeRows, type RoundRows, type WeightOptions } from './layer-codes.js';
import type { StaticInt8Options } from './options.js';

export interface RoundingRequest {
  readonly units: readonly IntegerUnit[];
  readonly rounding: NonNullable<StaticInt8Options['rounding']>;
  readonly samples: RunSource;
}

/** Rows of inputs per layer: the Gram matrix of some thousand is that of all but for a few percent. */
const ROWS_MAX = 20_000;

/** How to round each layer, by unit; layers whose inputs cannot be seen are missing and are rounded to nearest. */
export async function layerRoundings(
  model: Model,
  { units, rounding, samples }: RoundingRequest,
  context: MethodContext,
): Promise<Map<string, RoundRows>> {
  if (rounding === 'nearest') return new Map();
  const layers = units.flatMap(({ name, layer }) => (layer ? [{ name, layer }] : []));
  const grams = await gramMatrices({ model, layers: layers.map(gramLayer), samples, context, rowsMax: ROWS_MAX });
  const roundings = new Map<string, RoundRows>();
  for (const { name, layer } of layers) {
    const gram = grams.get(name);
    if (gram) roundings.set(name, roundingOver(rounding, inKernelOrder(gram, layer)));
  }
  return roundings;
}

function gramLayer({ name, layer }: { name: string; layer: Layer }): GramLayer {
  const base = { key: name, activation: layer.activation.name, depth: layer.depth };
  return layer.kind === 'dense' ? base : { ...base, window: convolutionWindow(layer.node, layer.weight.tensor.dims) };
}

/** E[x x^T], one block [K, K] per group, with K in the order in which the kernel adds. */
interface Hessian {
  readonly values: Float64Array;
  readonly depth: number;
}

function inKernelOrder({ gram, groups, depth, rows }: GramMatrix, layer: Layer): Hessian {
  const places = Float32Array.from({ length: depth }, (_, k) => k);
  const order = layer.kind === 'conv' ? convolutionOrder(places, [1, ...layer.weight.tensor.dims.slice(1)]) : places;
  const values = new Float64Array(gram.length);
  for (let group = 0; group < groups; group += 1) {
    const start = group * depth ** 2;
    for (let i = 0; i < depth; i += 1) {
      for (let j = 0; j < depth; j += 1)
        values[start + i * depth + j] = (gram[start + (order[i] ?? 0) * depth + (order[j] ?? 0)] ?? 0) / Math.max(1, rows);
    }
  }
  return { values, depth };
}

/** The better of plain rounding and the one that is asked for, channel by channel. */
function roundingOver(rounding: Exclude<RoundingRequest['rounding'], 'nearest'>, hessian: Hessian): RoundRows {
  return (rows, options, importance) => {
    const plain = quantizeRows(rows, options, importance);
    switch (rounding) {
      case 'seq-mse':
        return searchedScales(rows, plain, { options, hessian });
      case 'gptq':
        return betterChannels(rows, plain, { ...plain, codes: gptqCodes(rows, plain.scales, { options, hessian }) }, hessian);
      case 'adaround':
        return betterChannels(rows, plain, { ...plain, codes: descendedCodes(rows, plain, { options, hessian }) }, hessian);
      default:
        return rounding satisfies never;
    }
  };
}

interface Rounding {
  readonly options: WeightOptions;
  readonly hessian: Hessian;
}

function gptqCodes({ values, channels, depth }: LayerRows, scales: Float32Array, { options, hessian }: Rounding): Int8Array {
  return roundWithHessian({
    values,
    channels,
    length: depth,
    scales,
    hessian: hessian.values,
    pairSafe: options.pairSafe && !options.reduceRange,
  });
}

/** Scales tried, as shares of the plain ones (SeqMSE of AIMET: methods.md 3.3). */
const SCALE_SHARES = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5];

function searchedScales(rows: LayerRows, plain: QuantizedMatrix, { options, hessian }: Rounding): QuantizedMatrix {
  if (options.powerOfTwo || options.reduceRange) return plain;
  let best = plain;
  for (const share of SCALE_SHARES) {
    const scales = plain.scales.map((scale) => Math.fround(scale * share));
    const codes = options.pairSafe ? codesPairSafe(rows.values, rows.depth, scales) : codesFor(rows, scales);
    best = betterChannels(rows, best, { codes, scales }, hessian);
  }
  return best;
}

/** Coordinate descent from the nearest codes; a channel that would saturate keeps the codes it had. */
function descendedCodes({ values, channels, depth }: LayerRows, plain: QuantizedMatrix, { options, hessian }: Rounding): Int8Array {
  const codes = plain.codes.slice();
  const blocks = hessian.values.length / depth ** 2;
  const perBlock = channels / blocks;
  const limit = options.reduceRange ? 64 : 127;
  for (let block = 0; block < blocks; block += 1) {
    const from = block * perBlock * depth;
    const to = from + perBlock * depth;
    const scaleOf = (row: number): number => plain.scales[plain.scales.length === 1 ? 0 : block * perBlock + row] ?? 1;
    const moved = adaroundRound({
      ...{ rows: perBlock, depth, weights: values.subarray(from, to), low: -limit, high: limit },
      hessian: hessian.values.subarray(block * depth ** 2, (block + 1) * depth ** 2),
      start: Int32Array.from(codes.subarray(from, to)),
      value: (code, row) => code * scaleOf(row),
      quantize: (value, row) => {
        const code = Math.max(-limit, Math.min(limit, Math.round(value / scaleOf(row))));
        return { code, value: code * scaleOf(row) };
      },
    });
    for (let row = 0; row < perBlock; row += 1) {
      const chosen = Int8Array.from(moved.subarray(row * depth, (row + 1) * depth));
      if (!(options.pairSafe && canSaturate(chosen))) codes.set(chosen, from + row * depth);
    }
  }
  return codes;
}

/** Per channel, what errs less on the inputs seen: e^T H e with e = w - s q. One scale for all channels is taken or left as a whole. */
function betterChannels(rows: LayerRows, before: QuantizedMatrix, after: QuantizedMatrix, hessian: Hessian): QuantizedMatrix {
  const errors = [before, after].map((each) => channelErrors(rows, each, hessian));
  const [old = [], changed = []] = errors;
  if (before.scales.length === 1) {
    const sum = (each: readonly number[]): number => each.reduce((a, b) => a + b, 0);
    return sum(changed) < sum(old) ? after : before;
  }
  const codes = before.codes.slice();
  const scales = before.scales.slice();
  for (let channel = 0; channel < rows.channels; channel += 1) {
    if (!((changed[channel] ?? 0) < (old[channel] ?? 0))) continue;
    codes.set(after.codes.subarray(channel * rows.depth, (channel + 1) * rows.depth), channel * rows.depth);
    scales[channel] = after.scales[channel] ?? 1;
  }
  return { codes, scales };
}

function channelErrors({ values, channels, depth }: LayerRows, { codes, scales }: QuantizedMatrix, hessian: Hessian): number[] {
  const perBlock = channels / (hessian.values.length / depth ** 2);
  return Array.from({ length: channels }, (_, channel) => {
    const scale = scales[scales.length === 1 ? 0 : channel] ?? 1;
    const error = Float64Array.from(
      { length: depth },
      (_, k) => (values[channel * depth + k] ?? 0) - scale * (codes[channel * depth + k] ?? 0),
    );
    const start = Math.floor(channel / perBlock) * depth ** 2;
    let sum = 0;
    for (let i = 0; i < depth; i += 1) {
      const factor = error[i] ?? 0;
      if (factor === 0) continue;
      let row = 0;
      for (let j = 0, at = start + i * depth; j < depth; j += 1, at += 1) row += (hessian.values[at] ?? 0) * (error[j] ?? 0);
      sum += factor * row;
    }
    return sum;
  });
}
