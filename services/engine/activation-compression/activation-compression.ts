/** Codes the maps of a model without loss, as an accelerator would on the way to its memory, and tells what that saves. Changes nothing else. */
import { addToBitTable, coderTile, networkLayers } from '../accelerators/index.js';
import { EngineError } from '../engine-errors.js';
import { float32Values, type Model, type Tensor } from '../ir/index.js';
import { CodeEntropy, type CodingCounts, encodeMap, layoutOfMap, type MapLayout, operationsPerValue } from '../map-codec/index.js';
import { firstSamples, type MapCoding, type MethodContext, type MethodOutcome, partOf, type RunSource } from '../method.js';
import { affineParameters, type QuantizationParameters, roundHalfToEven } from '../quantization/quantization-parameters.js';
import type { ExecutionSession } from '../runtime/execution-session.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { codesOf, modelThatShows, type ObservedMap, observedMaps } from './observed-maps.js';
import type { ActivationCompressionOptions } from './options.js';

const SAMPLES = 32;
const BITS = 8;

/**
 * Runs the samples one after the other, twice where maps are floats: for their ranges, and for their codes. Puts the bits per value of each
 * map into the table of the model's metadata. Throws EngineError `recipe_invalid` without samples, and what running throws.
 */
export async function activationCompression(
  model: Model,
  options: ActivationCompressionOptions,
  context: MethodContext,
): Promise<MethodOutcome> {
  if (!context.calibration) throw new EngineError('recipe_invalid', 'Activation compression needs samples: give a data set.');
  const samples = firstSamples(context.calibration, options.samples ?? SAMPLES);
  const maps = await mapsOf(model, samples, context);
  const session = await context.runtime.open(modelThatShows(model, maps));
  try {
    const bits = options.bits ?? BITS;
    const floats = maps.filter(({ zero }) => zero === null);
    const ranges = await floatRanges(session, floats, { samples, bits, context: partOf(context, 0, 0.4) });
    const usual = coderTile(context.accelerator);
    const tile = { rows: options.tile_rows ?? usual.rows, columns: options.tile_columns ?? usual.columns };
    const coded = await codeMaps(session, maps, { samples, bits, ranges, tile, context: partOf(context, 0.4, 1) });
    addToBitTable(model, { compressed: Object.fromEntries(coded.map(({ map, bits_per_value }) => [map, bits_per_value])) });
    return { nodes: [], maps: coded, warnings: warningsOf(coded) };
  } finally {
    await session.close();
  }
}

async function mapsOf(model: Model, samples: RunSource, { runtime }: MethodContext): Promise<readonly ObservedMap[]> {
  for await (const { feeds } of samples.runs(1, 1)) {
    const { shapes } = await observeShapes(runtime, { model, feeds });
    return observedMaps(model, networkLayers(model, shapes));
  }
  return [];
}

interface CodingRun {
  readonly samples: RunSource;
  readonly bits: number;
  readonly context: MethodContext;
}

interface ShownMap {
  readonly map: ObservedMap;
  readonly tensor: Tensor;
}

/** The tensors of each map, run by run; one run's maps at a time. */
async function* shownMaps(
  session: ExecutionSession,
  maps: readonly ObservedMap[],
  { samples, context }: CodingRun,
): AsyncGenerator<readonly ShownMap[]> {
  let done = 0;
  for await (const { feeds, sampleCount } of samples.runs(1)) {
    context.signal.throwIfAborted();
    const fetched = maps.filter(({ value }) => !feeds.has(value)).map(({ value }) => value);
    const outputs = fetched.length > 0 ? await session.run(feeds, [...new Set(fetched)]) : new Map<string, Tensor>();
    yield maps.flatMap((map) => {
      const tensor = feeds.get(map.value) ?? outputs.get(map.value);
      return tensor ? [{ map, tensor }] : [];
    });
    done += sampleCount;
    context.progress(done / samples.sampleCount, `maps of ${done} of ${samples.sampleCount} samples`);
  }
}

/** Scale and zero point of each map that is float32, from its extremes over the samples. */
async function floatRanges(
  session: ExecutionSession,
  maps: readonly ObservedMap[],
  run: CodingRun,
): Promise<ReadonlyMap<ObservedMap, QuantizationParameters>> {
  const extremes = new Map<ObservedMap, { min: number; max: number }>();
  if (maps.length === 0) return new Map();
  for await (const shown of shownMaps(session, maps, run)) {
    for (const { map, tensor } of shown) {
      if (tensor.dataType !== 'float32') continue;
      const range = extremes.get(map) ?? { min: 0, max: 0 };
      for (const value of float32Values(tensor)) {
        if (value < range.min && value > Number.NEGATIVE_INFINITY) range.min = value;
        if (value > range.max && value < Number.POSITIVE_INFINITY) range.max = value;
      }
      extremes.set(map, range);
    }
  }
  const codes = { min: 0, max: 2 ** run.bits - 1 };
  return new Map([...extremes].map(([map, range]) => [map, affineParameters(range, codes)]));
}

interface Tally {
  readonly entropy: CodeEntropy;
  readonly counts: CodingCounts;
  readonly bits: number;
  values: number;
  codedBytes: number;
}

async function codeMaps(
  session: ExecutionSession,
  maps: readonly ObservedMap[],
  run: CodingRun & { readonly ranges: ReadonlyMap<ObservedMap, QuantizationParameters>; readonly tile: MapLayout['tile'] },
): Promise<readonly MapCoding[]> {
  const tallies = new Map<ObservedMap, Tally>();
  for await (const shown of shownMaps(session, maps, run)) {
    for (const { map, tensor } of shown) {
      const coded = map.zero === null ? quantized(tensor, run.ranges.get(map), run.bits) : given(tensor, map.zero);
      if (!coded) continue;
      const layout = layoutOfMap(tensor.dims, coded, run.tile);
      const tally = tallies.get(map) ?? {
        entropy: new CodeEntropy(coded.bits),
        counts: { predicted: [] },
        bits: coded.bits,
        values: 0,
        codedBytes: 0,
      };
      tally.entropy.add(coded.codes, layout);
      tally.codedBytes += encodeMap(coded.codes, layout, tally.counts).byteLength;
      tally.values += coded.codes.length;
      tallies.set(map, tally);
    }
  }
  return [...tallies].filter(([, { values }]) => values > 0).map(([map, tally]) => reported(map, tally));
}

interface Codes {
  readonly codes: Int32Array;
  readonly bits: number;
  readonly zero: number;
}

function given(tensor: Tensor, zero: number): Codes | undefined {
  const codes = codesOf(tensor);
  return codes && { ...codes, zero };
}

function quantized(tensor: Tensor, parameters: QuantizationParameters | undefined, bits: number): Codes | undefined {
  if (!parameters) return undefined;
  const { scale, zeroPoint } = parameters;
  const high = 2 ** bits - 1;
  const code = (value: number): number => Math.min(high, Math.max(0, roundHalfToEven(value / scale) + zeroPoint)) || 0;
  return { codes: Int32Array.from(float32Values(tensor), code), bits, zero: zeroPoint };
}

function reported({ map, node, usedBits }: ObservedMap, { entropy, counts, bits, values, codedBytes }: Tally): MapCoding {
  const operations = operationsPerValue(counts);
  return {
    map: map.names[0] ?? '',
    node,
    bits: usedBits ?? bits,
    values,
    bits_per_value: (8 * codedBytes) / values,
    value_entropy: entropy.ofValues,
    delta_entropy: entropy.ofDeltas,
    encode_operations: operations.encode,
    decode_operations: operations.decode,
  };
}

function warningsOf(coded: readonly MapCoding[]): string[] {
  const none = coded.length === 0 ? ['activation-compression: the model has no map of floats or codes that could be coded.'] : [];
  return [
    ...none,
    'activation-compression: the model file is as it was; what is saved is off-chip traffic of an accelerator that codes its maps, not time on a CPU.',
  ];
}
