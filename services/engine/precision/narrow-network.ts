/** A network in which every map and weight can be given any width by feeds: what a choice of widths costs at the outputs, in one session. */
import { compareWithFloat, noiseOf } from '../evaluation/layer-sensitivity.js';
import { openSwitchable, type SwitchableModel, type SwitchableSite } from '../evaluation/switchable-model.js';
import type { Model } from '../ir/index.js';
import { channelCount } from '../layers/channel-layout.js';
import { firstSamples, type MethodContext, type RunSource } from '../method.js';
import { type GramMatrix, gramMatrices } from '../normal-equations/gram-matrices.js';
import { MapRanges } from './map-ranges.js';
import { coveredRange, type MapCodes, type ScaleChoice, WIDEST_BITS } from './narrow-codes.js';
import type { LowerableMap, LowerableWeight, NetworkTensors } from './network-tensors.js';
import { granularityOf } from './stored-codes.js';
import { matrixOf, realWeights, roundWeights, type WeightGranularity } from './weight-codes.js';

/** Bits by name of a map or a weight; tensors that are missing, and those of 16 bits, compute in float. */
export type Widths = ReadonlyMap<string, number>;

export interface NarrowRequest {
  readonly model: Model;
  readonly tensors: NetworkTensors;
  /** Widths below 16 that can be chosen. */
  readonly mapWidths: readonly number[];
  readonly weightWidths: readonly number[];
  readonly granularity: WeightGranularity;
  readonly scales: ScaleChoice;
  readonly samples: RunSource;
}

/** Samples on which widths are compared, of those that ranges and products are taken of. */
const COMPARED_SAMPLES = { least: 8, most: 64 } as const;
const COMPARED_BYTES = 2 ** 17;
/** Steps N K^2 of rounding one weight, beyond which widths are compared with the nearest codes: every width of every weight is rounded. */
const ROUNDING_STEPS_MAX = 2 ** 25;

export class NarrowNetwork {
  private constructor(
    private readonly request: NarrowRequest,
    readonly ranges: MapRanges,
    private readonly switchable: SwitchableModel,
  ) {}

  /** Must be closed. Throws what running the model throws. */
  static async open(request: NarrowRequest, context: MethodContext): Promise<NarrowNetwork> {
    const { model, tensors, samples, mapWidths, weightWidths } = request;
    const ranges = await MapRanges.observe(model, tensors.maps, { samples, context }, request.scales);
    const products = await inputProducts(model, tensors.weights, { samples, context });
    const sites = [
      ...tensors.maps.map((map) => mapSite(map, mapWidths, ranges)),
      ...tensors.weights.map((weight) => weightSite(weight, weightWidths, { ...request, products: products.get(weight.name) })),
    ];
    return new NarrowNetwork(request, ranges, await openSwitchable(model, sites, context));
  }

  codes(map: LowerableMap, width: number): MapCodes {
    return this.ranges.codes(map, width);
  }

  /** Noise at the worst output relative to its signal, for each choice; 0 for equal outputs. */
  async noises(choices: readonly Widths[], context: MethodContext): Promise<number[]> {
    const { samples: all } = this.request;
    const { least, most } = COMPARED_SAMPLES;
    const limit = Math.max(least, Math.min(most, Math.floor(COMPARED_BYTES / Math.max(1, all.sampleBytes))));
    const samples = { source: firstSamples(all, limit), limit };
    const results = await compareWithFloat(
      this.switchable,
      choices.map((widths) => this.enabled(widths)),
      { samples, context },
    );
    return results.map((result) => noiseOf(result).noise);
  }

  private enabled(widths: Widths): ReadonlyMap<string, number> {
    const { tensors, mapWidths, weightWidths } = this.request;
    const enabled = new Map<string, number>();
    const add = (name: string, offered: readonly number[]): void => {
      const width = widths.get(name) ?? WIDEST_BITS;
      if (width >= WIDEST_BITS) return;
      const index = offered.indexOf(width);
      if (index < 0) throw new RangeError(`NarrowNetwork: ${width} bits are not among the widths of "${name}"`);
      enabled.set(name, index);
    };
    for (const { name } of tensors.maps) add(name, mapWidths);
    for (const { name } of tensors.weights) add(name, weightWidths);
    return enabled;
  }

  close(): Promise<void> {
    return this.switchable.close();
  }
}

/** X^T X of what each weight is multiplied with, by name of the weight. */
function inputProducts(
  model: Model,
  weights: readonly LowerableWeight[],
  { samples, context }: { readonly samples: RunSource; readonly context: MethodContext },
): Promise<ReadonlyMap<string, GramMatrix>> {
  const steps = ({ form: { layout, rows } }: LowerableWeight): number => channelCount(layout) * rows.depth ** 2;
  const layers = weights.filter((weight) => steps(weight) <= ROUNDING_STEPS_MAX).map(({ name, form }) => ({ ...form.rows, key: name }));
  return gramMatrices({ model, layers, samples, context });
}

function mapSite(map: LowerableMap, widths: readonly number[], ranges: MapRanges): SwitchableSite {
  const alternatives = widths.map((width) => {
    const codes = ranges.codes(map, width);
    const { scale, zeroPoint } = codes;
    return { activations: [{ tensor: map.name, dataType: 'uint16' as const, scale, zeroPoint, bounds: coveredRange(codes) }] };
  });
  return { id: map.name, alternatives };
}

/** Codes are found when they are first asked for, and kept. */
function weightSite(
  weight: LowerableWeight,
  widths: readonly number[],
  how: Pick<NarrowRequest, 'granularity' | 'scales'> & { readonly products: GramMatrix | undefined },
): SwitchableSite {
  const alternatives = widths.map((bits) => {
    let real: Float32Array | undefined;
    const quantized = (): Float32Array => {
      real ??= realWeights(roundWeights(matrixOf(weight), bits, { ...how, granularity: granularityOf(weight, how.granularity) }), weight);
      return real;
    };
    return { weights: [{ value: weight.name, quantized }] };
  });
  return { id: weight.name, alternatives };
}
