/** Calibrates the tensors that could be coded. */
import { cachedCalibration, type TensorStatistics } from '../../calibration/index.js';
import type { Model } from '../../ir/index.js';
import type { CalibrationSummary, MethodContext, RunSource } from '../../method.js';
import { type Range, withHeadroom } from './activation-ranges.js';
import { integerForm } from './integer-form.js';
import type { StaticInt8Options } from './options.js';
import { searchUnits } from './static-candidate.js';

export interface ObservedTensors {
  readonly ranges: ReadonlyMap<string, Range>;
  readonly ranks: ReadonlyMap<string, number>;
  /** Values in one run with one sample. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly statistics: ReadonlyMap<string, TensorStatistics>;
  readonly summary: CalibrationSummary;
}

export interface ObservationRequest {
  readonly options: StaticInt8Options;
  readonly samples: RunSource;
  readonly context: MethodContext;
}

/** Codes of one activation, for the search of ranges. */
const LEVELS = { uint8: 256, int8: 256, uint16: 65_536, int16: 65_536 } as const;

export async function observe(model: Model, { options, samples, context }: ObservationRequest): Promise<ObservedTensors> {
  const { units } = searchUnits(model, options);
  const tensors = [...integerForm(model.graph, units, new Map()).coded].map(({ name }) => name);
  const channels = new Map(units.flatMap(({ layer }) => (layer ? [[layer.activation.name, layer.kind === 'conv' ? 1 : -1] as const] : [])));
  const levels = LEVELS[options.activation_type ?? 'uint8'];
  const result = await cachedCalibration({ model, tensors, samples, context, channels, levels, options: options.calibration ?? {} });
  const fed = new Set(model.graph.inputs.map(({ name }) => name));
  const isExtreme = (options.calibration?.method ?? 'minmax') === 'minmax';
  const seen = [...result.tensors].filter(([, { count }]) => count > 0);
  return {
    ranges: new Map(seen.map(([name, known]) => [name, isExtreme && !fed.has(name) ? withHeadroom(known) : known] as const)),
    ranks: new Map(seen.map(([name, { dims }]) => [name, dims.length] as const)),
    sizes: new Map(seen.map(([name, { count }]) => [name, count / Math.max(1, result.summary.samples)] as const)),
    statistics: result.tensors,
    summary: result.summary,
  };
}
