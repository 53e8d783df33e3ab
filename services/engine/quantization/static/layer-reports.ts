/** What the report tells of each layer: ranges, weights, noise, times, and whether its answer depends on the processor. */
import { FidelityAccumulator } from '../../evaluation/fidelity.js';
import { localSensitivity } from '../../evaluation/layer-sensitivity.js';
import { openSwitchable } from '../../evaluation/switchable-model.js';
import { cloneModel } from '../../ir/clone-model.js';
import { float32Values, type Model, type Tensor } from '../../ir/index.js';
import type { LayerReport, MethodContext, SampleRun, ValueHistogram } from '../../method.js';
import { saturationReport } from '../saturation-report.js';
import type { IntegerUnit } from './integer-units.js';
import { layerSites } from './layer-sites.js';
import type { ObservedTensors } from './observed-tensors.js';
import type { QuantizedParts } from './static-candidate.js';
import type { UnitPlacement } from './unit-placement.js';

export interface LayerReportRequest {
  /** The float model that was calibrated. */
  readonly float: Model;
  readonly quantized: Model;
  /** The same with pairs, between which every float value can be seen. */
  readonly observable: Model;
  /** Layers that compute on codes. */
  readonly units: readonly IntegerUnit[];
  readonly parts: QuantizedParts;
  readonly observed: ObservedTensors;
  readonly placement: UnitPlacement;
}

/** Enough for one decimal of a signal to noise ratio over the elements of a layer. */
const SAMPLES = 4;
/** Noise of single layers costs a run for each: what takes longer in all is left out of the report. */
const LOCAL_NOISE_MS_MAX = 600;
const HISTOGRAM_BINS = 64;
/** Larger models are reported without noise per layer: every layer costs a run, every output memory. */
const LAYERS_MAX = 200;

export async function layerReports(request: LayerReportRequest, context: MethodContext): Promise<LayerReport[]> {
  const layers = request.units.filter(({ layer }) => layer !== null);
  if (layers.length === 0) return [];
  const noise = layers.length <= LAYERS_MAX ? await measuredNoise({ ...request, units: layers }, context) : new Map<string, Noise>();
  const bounds = new Map(saturationReport(request.quantized).products.map(({ node, pair_bound }) => [node, pair_bound] as const));
  return layers.map((unit) => ({ ...described(unit, request), ...noise.get(unit.name), ...optional('pair_bound', bounds.get(unit.name)) }));
}

function optional<Key extends string, T>(key: Key, value: T | undefined): { readonly [K in Key]?: T } {
  return value === undefined ? {} : ({ [key]: value } as { readonly [K in Key]?: T });
}

function described(unit: IntegerUnit, { parts, observed, placement }: LayerReportRequest): LayerReport {
  const { layer, output, name, node } = unit;
  const codes = parts.codes.get(name);
  const parameters = parts.parameters.get(output.name);
  const seen = observed.statistics.get(output.name);
  const time = placement.times.get(name);
  const weights = layer && float32Values(layer.weight.tensor);
  return {
    ...{ node: name, op_type: node.opType, form: 'int8' },
    ...(weights && codes ? { bytes_before: weights.byteLength, bytes_after: codes.codes.byteLength + 4 * codes.scales.length } : {}),
    ...(parameters ? { range: [parameters.low, parameters.high], scale: parameters.scale, zero_point: parameters.zeroPoint } : {}),
    ...optional('clipped', seen?.clipped),
    ...(time ? { time_before_us: time.float, time_after_us: time.integer } : {}),
    ...(weights ? { weight_histogram: histogramOf(weights) } : {}),
    ...optional('activation_histogram', seen?.histogram && coarser(seen.histogram)),
  };
}

function histogramOf(values: Float32Array): ValueHistogram {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const counts = new Array<number>(HISTOGRAM_BINS).fill(0);
  const width = (high - low) / HISTOGRAM_BINS || 1;
  for (const value of values) {
    const bin = Math.min(HISTOGRAM_BINS - 1, Math.floor((value - low) / width));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return { low, high, counts };
}

/** Neighbouring bins added up, so that the report stays small. */
function coarser({ low, high, counts }: ValueHistogram): ValueHistogram {
  const merged = Math.ceil(counts.length / HISTOGRAM_BINS);
  const bins = Math.ceil(counts.length / merged);
  const sums = Array.from({ length: bins }, (_, bin) => counts.slice(bin * merged, (bin + 1) * merged).reduce((a, b) => a + b, 0));
  return { low, high: low + ((high - low) * bins * merged) / counts.length, counts: sums };
}

type Noise = Pick<LayerReport, 'sqnr_db' | 'cosine' | 'sqnr_local_db'>;

/** Noise of each layer alone, and with everything before it quantized, on a few samples. */
async function measuredNoise(request: LayerReportRequest, context: MethodContext): Promise<Map<string, Noise>> {
  const { noise: accumulated, runMs } = await accumulatedNoise(request, context);
  const samples = Math.min(SAMPLES, Math.floor(LOCAL_NOISE_MS_MAX / (runMs * request.units.length)));
  const local = samples > 0 ? await localNoise(request, samples, context) : new Map<string, number>();
  return new Map(
    request.units.map(({ name }) => [name, { ...optional('sqnr_local_db', local.get(name)), ...accumulated.get(name) }] as const),
  );
}

async function localNoise(
  { float, units, parts }: LayerReportRequest,
  limit: number,
  context: MethodContext,
): Promise<Map<string, number>> {
  const { calibration } = context;
  if (!calibration) return new Map();
  const sites = layerSites(units, parts);
  const outputs = new Map(units.map(({ name, output }) => [name, output.name] as const));
  const switchable = await openSwitchable(float, sites, context, { observe: [...outputs.values()] });
  try {
    const quiet = { signal: context.signal, progress: () => undefined };
    // All outputs of a run are held at once: one sample at a time, whatever the size of the inputs suggests.
    const source = { ...calibration, sampleBytes: Number.MAX_SAFE_INTEGER };
    const found = await localSensitivity(switchable, sites, { samples: { source, limit }, context: quiet, outputs });
    return new Map(found.map(({ site, sqnr_db }) => [site, sqnr_db] as const));
  } finally {
    await switchable.close();
  }
}

async function accumulatedNoise(
  { float, observable, units }: LayerReportRequest,
  context: MethodContext,
): Promise<{ noise: Map<string, Noise>; runMs: number }> {
  const names = units.map(({ output }) => output.name);
  const reference = await context.runtime.open(withOutputs(float, names));
  const artifact = await context.runtime.open(withOutputs(observable, names)).catch(async (error: unknown) => {
    await reference.close();
    throw error;
  });
  const sums = new Map(units.map(({ name }) => [name, new FidelityAccumulator()] as const));
  let runMs = Number.POSITIVE_INFINITY;
  try {
    for await (const run of context.calibration?.runs(1, SAMPLES) ?? []) {
      const before = performance.now();
      const expected = await reference.run(run.feeds, names);
      runMs = Math.min(runMs, performance.now() - before);
      const actual = await artifact.run(run.feeds, names);
      for (const { name, output } of units) addOutput(sums.get(name), { name: output.name, expected, actual, run });
    }
  } finally {
    await reference.close();
    await artifact.close();
  }
  return { noise: new Map([...sums].map(([name, sum]) => [name, noiseFields(sum)] as const)), runMs };
}

interface OutputPair {
  readonly name: string;
  readonly expected: ReadonlyMap<string, Tensor>;
  readonly actual: ReadonlyMap<string, Tensor>;
  readonly run: SampleRun;
}

function addOutput(sum: FidelityAccumulator | undefined, { name, expected, actual, run }: OutputPair): void {
  const [before, after] = [expected.get(name), actual.get(name)];
  if (sum && before && after)
    sum.add(new Map([[name, before]]), new Map([[name, after]]), { rows: run.rows, sampleCount: run.sampleCount });
}

function noiseFields(sum: FidelityAccumulator): Noise {
  const { sqnr_db, cosine } = sum.result('dataset');
  return { ...(sqnr_db === null ? {} : { sqnr_db }), ...(cosine === null ? {} : { cosine }) };
}

/** A copy with the named float values of the main graph as further outputs. */
function withOutputs(model: Model, names: readonly string[]): Model {
  const copy = cloneModel(model);
  const wanted = new Set(names);
  for (const value of copy.graph.nodes.flatMap(({ outputs }) => outputs)) {
    if (!value || !wanted.has(value.name) || copy.graph.isOutput(value)) continue;
    value.type ??= { kind: 'tensor', dataType: 'float32', shape: null };
    copy.graph.outputs.push(value);
  }
  return copy;
}
