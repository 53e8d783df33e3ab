/** From what was observed to the range that the codes shall cover: one function per method. */
import type { ValueHistogram } from '../method.js';
import { BinnedMass } from './binned-mass.js';
import { entropyRange } from './entropy-range.js';
import { leastErrorRange } from './least-error-range.js';
import type { CalibrationOptions, RangeMethod } from './options.js';
import type { Range } from './range.js';
import type { TensorRecord } from './tensor-record.js';

export interface RangeRequest {
  readonly record: TensorRecord;
  readonly options: CalibrationOptions;
  /** Codes that the range is divided into. */
  readonly levels: number;
}

export const PERCENTILE_DEFAULT = 99.999;

/** Methods that look at values and not only at extremes. */
export const histogramMethods: ReadonlySet<RangeMethod> = new Set(['moving-average', 'percentile', 'entropy', 'mse', 'sqnr']);

const choices: Readonly<Record<RangeMethod, (mass: BinnedMass, request: RangeRequest) => Range>> = {
  minmax: (_, { record }) => ({ low: record.min, high: record.max }),
  'moving-average': (_, { record }) => ({ low: record.averaged?.min ?? record.min, high: record.averaged?.max ?? record.max }),
  /** Half of what may be cut on each side. */
  percentile(mass, { options }) {
    const cut = (100 - (options.percentile ?? PERCENTILE_DEFAULT)) / 200;
    return { low: mass.quantile(cut), high: mass.quantile(1 - cut) };
  },
  entropy: (mass, { levels }) => entropyRange(mass, levels),
  mse: (mass, { levels }) => leastErrorRange(mass, levels),
  /**
   * sum (x - Q(x))^2 / (x^2 + E[x^2]) in place of sum (x - Q(x))^2: the error of each value in relation to the value, floored by
   * the signal's mean power. Large values may err more than small ones, so outliers are clipped earlier than by 'mse'.
   */
  sqnr: (mass, { levels }) => leastErrorRange(mass, levels),
};

/** The chosen range within the observed one, and the share of values outside it. */
export function chooseRange(request: RangeRequest): Range & { readonly clipped: number } {
  const { record, options } = request;
  const method = options.method ?? 'minmax';
  if (!(record.min < record.max)) return { low: record.min, high: record.max, clipped: 0 };
  if (method === 'minmax') return { low: record.min, high: record.max, clipped: 0 };
  const histogram = record.histogram();
  if (!histogram) return { low: record.min, high: record.max, clipped: 0 };
  const { power = 0 } = record;
  const counts = new BinnedMass(histogram);
  const range = choices[method](massFor(method, { counts, histogram, power }), request);
  const low = Math.max(record.min, Math.min(range.low, record.max));
  const high = Math.min(record.max, Math.max(range.high, low));
  return { low, high, clipped: clippedShare(counts, { low, high }, record) };
}

/** What a method counts: 'sqnr' weighs by the value, 'entropy' leaves out the zeros, which have a code of their own and hide all else. */
function massFor(
  method: RangeMethod,
  { counts, histogram, power }: { counts: BinnedMass; histogram: ValueHistogram; power: number },
): BinnedMass {
  if (method === 'sqnr') return new BinnedMass(histogram, (value) => 1 / (value * value + power));
  if (method !== 'entropy') return counts;
  return new BinnedMass(histogram, (value) => (Math.abs(value) <= counts.width ? 0 : 1));
}

/** The outermost bins reach beyond the observed extremes: nothing is clipped where the range ends with them. */
function clippedShare(mass: BinnedMass, { low, high }: Range, { min, max }: { min: number; max: number }): number {
  const below = low <= min ? 0 : mass.massBelow(low);
  const above = high >= max ? 0 : mass.total - mass.massBelow(high);
  return Math.max(0, below + above) / Math.max(1, mass.total);
}
