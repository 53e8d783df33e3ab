/** Method cross-layer-scaling: channels scaled between layers, exactly, so that narrow codes lose less at the outputs. */
import { EngineError } from '../engine-errors.js';
import { cloneModel, type Model } from '../ir/index.js';
import { reportName, WeightStore } from '../layers/weight-store.js';
import { firstSamples, type MethodContext, type MethodOutcome, type NodeChange, partOf, type RunSource } from '../method.js';
import { channelRanges } from '../normal-equations/channel-ranges.js';
import { scaleGroups } from './channel-factors.js';
import { codedBits, isCodedLater } from './coded-widths.js';
import { NarrowNetwork } from './narrow-network.js';
import { type NetworkTensors, networkTensors } from './network-tensors.js';
import type { CrossLayerScalingOptions } from './options.js';
import { type ScalingGroup, scalingGroups } from './scaling-groups.js';

const METHOD = 'cross-layer-scaling';
const EXPONENTS = [0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];
const RANGE_SAMPLES = 64;
const COMPARED_SAMPLES = 8;
/** Coded maps have codes to spare. */
const DEFAULT_BITS = { activations: 4, codedActivations: 6, weights: 8 } as const;

/**
 * Divides the outputs of layers, channel by channel, and multiplies the inputs of those that read them: the function stays, up to rounding in
 * float32. The exponent is the one with the least noise at the outputs of the calibration samples once everything is rounded to the widths
 * given; nothing is scaled when that is none. Edits the model in place. Throws EngineError `recipe_invalid` without samples.
 */
export async function crossLayerScaling(model: Model, options: CrossLayerScalingOptions, context: MethodContext): Promise<MethodOutcome> {
  if (!context.calibration)
    throw new EngineError(
      'recipe_invalid',
      'cross-layer-scaling looks at the ranges of channels and needs calibration samples: give a data set of typical inputs (--data, or data.calibration_id).',
    );
  const groups = scalingGroups(model);
  if (groups.length === 0)
    return {
      nodes: [],
      warnings: [`${METHOD}: no layers follow each other with nothing but Relu, PRelu, LeakyRelu, pooling or sums between.`],
    };
  const ranges = await groupRanges(model, groups, firstSamples(context.calibration, RANGE_SAMPLES), partOf(context, 0, 0.2));
  const exponent =
    options.exponent ?? (await bestExponent({ model, ranges, options, samples: context.calibration }, partOf(context, 0.2, 1)));
  if (exponent === null)
    return { nodes: [], warnings: [`${METHOD}: no exponent is better at the outputs than none; the model is left as it is.`] };
  return { nodes: scaled(model, ranges, exponent) };
}

/** Largest magnitude of each channel over the maps of a group. */
async function groupRanges(
  model: Model,
  groups: readonly ScalingGroup[],
  samples: RunSource,
  context: MethodContext,
): Promise<Float64Array[]> {
  const tensors = groups.flatMap(({ maps, channels, channelAxis }) => maps.map((name) => ({ name, channels, axis: channelAxis })));
  const found = await channelRanges({ model, tensors, samples, context });
  return groups.map(({ maps, channels }) =>
    Float64Array.from({ length: channels }, (_, channel) => Math.max(0, ...maps.map((name) => found.get(name)?.[channel] ?? 0))),
  );
}

interface ExponentSearch {
  readonly model: Model;
  readonly ranges: readonly Float64Array[];
  readonly options: CrossLayerScalingOptions;
  readonly samples: RunSource;
}

async function bestExponent(search: ExponentSearch, context: MethodContext): Promise<number | null> {
  const candidates = [null, ...EXPONENTS];
  let best: { exponent: number | null; score: number } = { exponent: null, score: Number.POSITIVE_INFINITY };
  for (const [at, exponent] of candidates.entries()) {
    context.signal.throwIfAborted();
    const score = await scoreAt(search, exponent, partOf(context, at / candidates.length, (at + 1) / candidates.length));
    if (score < best.score) best = { exponent, score };
  }
  return best.exponent;
}

/**
 * Of a copy with these factors, everything rounded to the widths of the options: log2(noise) / 2, the bits that the noise is worth, as each
 * bit more is a quarter of it; where maps are coded, with the bits that they then take. Lower is better.
 */
async function scoreAt(
  { model, ranges, options, samples }: ExponentSearch,
  exponent: number | null,
  context: MethodContext,
): Promise<number> {
  const copy = cloneModel(model);
  if (exponent !== null) scaled(copy, ranges, exponent);
  const few = firstSamples(samples, COMPARED_SAMPLES);
  const tensors = await networkTensors(copy, { samples: few, exclude: [], context });
  const isCoded = isCodedLater(options, context);
  const { weight_bits = DEFAULT_BITS.weights, weight_granularity = 'tensor' } = options;
  const activation_bits = options.activation_bits ?? (isCoded ? DEFAULT_BITS.codedActivations : DEFAULT_BITS.activations);
  const request = { model: copy, tensors, mapWidths: [activation_bits], weightWidths: [weight_bits], granularity: weight_granularity };
  const scales = context.accelerator?.scales ?? 'any';
  const network = await NarrowNetwork.open({ ...request, scales, samples: few }, context);
  try {
    const inner = tensors.maps.filter(({ map }) => !map.isInterface).map(({ name }) => [name, activation_bits] as const);
    const widths = new Map([...inner, ...tensors.weights.map(({ name }) => [name, weight_bits] as const)]);
    const [noise = Number.POSITIVE_INFINITY] = await network.noises([widths], context);
    const coded = isCoded
      ? await codedBits({ model: copy, tensors, network, widths: request.mapWidths, samples: few, context })
      : undefined;
    return Math.log2(noise) / 2 + (coded ? meanBits(tensors, (name) => coded(name, activation_bits) ?? activation_bits) : 0);
  } finally {
    await network.close();
  }
}

/** Per value, over the maps between layers. */
function meanBits({ maps }: NetworkTensors, bitsOf: (name: string) => number): number {
  const inner = maps.filter(({ map }) => !map.isInterface);
  const values = inner.reduce((sum, { map }) => sum + map.elements, 0);
  return inner.reduce((sum, { name, map }) => sum + map.elements * bitsOf(name), 0) / Math.max(1, values);
}

function scaled(model: Model, ranges: readonly Float64Array[], exponent: number): NodeChange[] {
  const store = new WeightStore(model);
  const groups = scalingGroups(model, store);
  scaleGroups(groups, ranges, exponent);
  const layers = new Set(groups.flatMap(({ producers, consumers }) => [...producers, ...consumers]));
  return [...layers].map((layer) => {
    layer.write(store);
    const reason = `channels scaled with exponent ${exponent} together with the layers before and behind; the model computes the same`;
    return { node: reportName(layer.node), op_type: layer.node.opType, action: 'changed', by: METHOD, reason };
  });
}
