/** How much noise every rounded tensor and every layer with rounded weights is expected to bring, from what calibration saw: no run needed. */
import type { TensorStatistics } from '../../calibration/index.js';
import type { IntegerUnit } from './integer-units.js';
import { type InputStatistics, type Layer, layerRows, perProduct } from './layer-codes.js';
import { realWeights } from './layer-sites.js';
import type { QuantizedParts } from './static-candidate.js';

/** Noise to signal, as power ratios: what rounding adds to the results of layers, in the mean over their channels. */
export interface ExpectedNoise {
  /** Of weights, by name of the unit. */
  readonly weights: ReadonlyMap<string, number>;
  /** Of activations, by name of the tensor. */
  readonly tensors: ReadonlyMap<string, number>;
}

export interface NoiseRequest {
  readonly units: readonly IntegerUnit[];
  readonly parts: QuantizedParts;
  readonly statistics: ReadonlyMap<string, TensorStatistics>;
}

/** A channel whose noise exceeds what it says this many times is lost; it cannot lose more. */
const LOST = 4;

/**
 * Rounding to a step s adds noise of power s^2 / 12 (Widrow and Kollar, Quantization Noise, 2008, chapter 4). In channel j of a layer
 * y_j = sum_k w_jk x_k, whose values vary by V_j, relative to V_j:
 *   rounded input:    s_x^2 / 12  sum_k w_jk^2
 *   rounded weights:  sum_k (w_jk - w'_jk)^2 Var x_k      (the means are corrected in the bias)
 *   rounded result:   s_y^2 / 12
 * Channels count alike, because what follows does not care for the scale of a channel: one range for all of them drowns the small ones.
 * What lies between layers, and layers whose input was not observed per channel, count as silent.
 */
export function expectedNoise({ units, parts, statistics }: NoiseRequest): ExpectedNoise {
  const noise = { weights: new Map<string, number>(), tensors: new Map<string, number>() };
  const add = (name: string, ratio: number): void => void noise.tensors.set(name, (noise.tensors.get(name) ?? 0) + ratio);
  const readers = readersOf(units);
  for (const { name, layer, output } of units) {
    const input = layer && statistics.get(layer.activation.name)?.channels;
    const codes = parts.codes.get(name);
    const activation = layer && parts.parameters.get(layer.activation.name);
    if (!layer || !input || !codes || !activation) continue;
    const sums = channelSums(layer, input, realWeights(layer, codes));
    if (!sums) continue;
    const result = resultVariance(output.name, layer.channels, { readers, statistics }) ?? sums.signal;
    noise.weights.set(name, meanRatio(sums.error, result));
    add(
      layer.activation.name,
      meanRatio(
        sums.gain.map((gain) => gain * stepNoise(activation)),
        result,
      ),
    );
    const made = layer.kind === 'conv' ? parts.parameters.get(output.name) : undefined;
    if (made) add(output.name, meanRatio(new Float64Array(layer.channels).fill(stepNoise(made)), result));
  }
  return noise;
}

function stepNoise({ scale }: { readonly scale: number }): number {
  return scale ** 2 / 12;
}

function meanRatio(noise: Float64Array, signal: Float64Array): number {
  const sum = noise.reduce((total, power, channel) => total + Math.min(LOST, power / Math.max(signal[channel] ?? 0, Number.MIN_VALUE)), 0);
  return sum / Math.max(1, noise.length);
}

interface ChannelSums {
  /** sum_k w_jk^2 */
  readonly gain: Float64Array;
  /** sum_k (w_jk - w'_jk)^2 Var x_k */
  readonly error: Float64Array;
  /** sum_k w_jk^2 Var x_k: the variance of the result, were its inputs independent. */
  readonly signal: Float64Array;
}

function channelSums(layer: Layer, { mean, power }: InputStatistics, rounded: Float32Array): ChannelSums | undefined {
  const variances = perProduct(
    layer,
    power.map((square, at) => Math.max(0, square - (mean[at] ?? 0) ** 2)),
  );
  if (!variances) return undefined;
  const { values, channels, depth } = layerRows(layer);
  const codes = layerRows(layer, rounded).values;
  const sums = { gain: new Float64Array(channels), error: new Float64Array(channels), signal: new Float64Array(channels) };
  const perBlock = channels / (variances.length / depth);
  for (let channel = 0; channel < channels; channel += 1) {
    const block = Math.floor(channel / perBlock) * depth;
    let [gain, error, signal] = [0, 0, 0];
    for (let k = 0, at = channel * depth; k < depth; k += 1, at += 1) {
      const weight = values[at] as number;
      const variance = variances[block + k] as number;
      gain += weight * weight;
      error += (weight - (codes[at] as number)) ** 2 * variance;
      signal += weight * weight * variance;
    }
    sums.gain[channel] = gain;
    sums.error[channel] = error;
    sums.signal[channel] = signal;
  }
  return sums;
}

type Readers = ReadonlyMap<string, readonly IntegerUnit[]>;

function readersOf(units: readonly IntegerUnit[]): Readers {
  const readers = new Map<string, IntegerUnit[]>();
  for (const unit of units) for (const { name } of unit.inputs) readers.set(name, [...(readers.get(name) ?? []), unit]);
  return readers;
}

/** Operators between a layer and the next that keep its channels; further on the result is not the layer's any more. */
const STEPS_MAX = 4;

/** Variance per channel of what becomes of a layer's result where a layer reads it next: behind its activation. */
function resultVariance(
  name: string,
  channels: number,
  known: { readonly readers: Readers; readonly statistics: NoiseRequest['statistics'] },
  steps = STEPS_MAX,
): Float64Array | undefined {
  const seen = known.statistics.get(name)?.channels;
  if (seen?.mean.length === channels) return seen.power.map((power, at) => Math.max(0, power - (seen.mean[at] ?? 0) ** 2));
  if (steps === 0) return undefined;
  for (const { layer, output } of known.readers.get(name) ?? []) {
    const further = layer ? undefined : resultVariance(output.name, channels, known, steps - 1);
    if (further) return further;
  }
  return undefined;
}
