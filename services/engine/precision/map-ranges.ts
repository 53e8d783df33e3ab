/** The codes of every map in every width: ranges are chosen for each number of codes anew, from one pass over the samples. */
import { calibrate, leastErrorRangeOf, quantizationErrorOf, type TensorStatistics } from '../calibration/index.js';
import type { Model } from '../ir/index.js';
import type { CalibrationSummary, MethodContext, RunSource } from '../method.js';
import { coveredRange, levelsOf, type MapCodes, mapCodes, mapCodesOfScale, powersAround, type ScaleChoice } from './narrow-codes.js';
import type { LowerableMap } from './network-tensors.js';

/** Fine enough that a bin is a third of a step of 10 bits. */
const BINS = 4096;
/** Wider codes lose more by a clipped value than by the step. */
const CLIPPED_BITS_MAX = 10;
const PIXEL_BITS = 8;

export class MapRanges {
  private constructor(
    private readonly statistics: ReadonlyMap<string, TensorStatistics>,
    readonly summary: CalibrationSummary,
    private readonly scales: ScaleChoice,
  ) {}

  static async observe(
    model: Model,
    maps: readonly LowerableMap[],
    { samples, context }: { readonly samples: RunSource; readonly context: MethodContext },
    scales: ScaleChoice = 'any',
  ): Promise<MapRanges> {
    const options = { method: 'mse', bins: BINS, samples: samples.sampleCount } as const;
    const { tensors, summary } = await calibrate({ model, tensors: maps.map(({ name }) => name), samples, options, context });
    return new MapRanges(tensors, summary, scales);
  }

  /**
   * The range with the least squared error in that many codes (methods.md 2.6), clipping what is rare; wide codes take the whole range. An
   * input of pixels keeps them exactly in 8 bits and more. Where only powers of two are scales: the better one of those around.
   */
  codes({ name, gridStep }: LowerableMap, width: number): MapCodes {
    if (gridStep !== undefined && width >= PIXEL_BITS && (this.scales === 'any' || Number.isInteger(Math.log2(gridStep))))
      return { levels: 2 ** PIXEL_BITS, scale: Math.fround(gridStep), zeroPoint: 0 };
    const levels = levelsOf(width);
    const seen = this.statistics.get(name);
    if (!seen || !(seen.min <= seen.max)) return { levels, scale: 1, zeroPoint: 0 };
    const whole = { low: Math.min(0, seen.min), high: Math.max(0, seen.max) };
    const range = seen.histogram && width <= CLIPPED_BITS_MAX ? leastErrorRangeOf(seen.histogram, levels) : whole;
    const kept = { low: Math.max(whole.low, range.low), high: Math.min(whole.high, range.high) };
    const codes = mapCodes(kept, levels);
    if (this.scales === 'any' || !(kept.high > kept.low)) return codes;
    const errorOf = (candidate: MapCodes): number =>
      seen.histogram ? quantizationErrorOf(seen.histogram, coveredRange(candidate), levels) : -candidate.scale;
    const [least, ...others] = powersAround(codes.scale).map((scale) => mapCodesOfScale(kept, levels, scale));
    return others.reduce((best, each) => (errorOf(each) < errorOf(best) ? each : best), least ?? codes);
  }
}
