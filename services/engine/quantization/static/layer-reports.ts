/** What the report tells of each layer: ranges, weights, noise, times, and whether its answer depends on the processor. */
import { float32Values, type Model } from '../../ir/index.js';
import type { LayerReport, MethodContext, ValueHistogram } from '../../method.js';
import { saturationReport } from '../saturation-report.js';
import type { IntegerUnit } from './integer-units.js';
import { type LayerNoise, layerNoise } from './layer-noise.js';
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

const HISTOGRAM_BINS = 64;
/** Larger models are reported without noise per layer: every layer costs a run, every output memory. */
const LAYERS_MAX = 200;

export async function layerReports(request: LayerReportRequest, context: MethodContext): Promise<LayerReport[]> {
  const layers = request.units.filter(({ layer }) => layer !== null);
  if (layers.length === 0) return [];
  const noise =
    layers.length <= LAYERS_MAX
      ? await layerNoise({ ...request, units: layers, sizes: request.observed.sizes }, context)
      : new Map<string, LayerNoise>();
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
