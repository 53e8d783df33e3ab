/** The width of every tensor: by its role, or by what the outputs lose when it is narrowed alone. */
import { elementCount } from '../ir/index.js';
import { type AllocatedTensor, allocateBits, WIDTHS } from './bit-allocation.js';
import type { Observation } from './observed-points.js';
import type { Bits, DistributionAwareOptions } from './options.js';
import type { PointRange } from './point-form.js';
import { type Point, pointsOf, type QuantizationPlan } from './quantization-plan.js';
import { distanceOf, type SearchRequest } from './range-search.js';
import { roundWeight, type Settings } from './simulated-model.js';

const BITS = 8;

/** By id of the point and by name of the weight. */
export function uniformBits(
  plan: QuantizationPlan,
  { bits = BITS, tensor_bits = {} }: DistributionAwareOptions,
): ReadonlyMap<string, Bits> {
  return new Map<string, Bits>([
    ...pointsOf(plan).map(({ id, role }) => [id, tensor_bits[role] ?? bits] as const),
    ...plan.weights.map(({ constant }) => [constant.value.name, tensor_bits.weights ?? bits] as const),
  ]);
}

export interface Allocation {
  readonly options: DistributionAwareOptions;
  readonly settingsAt: (bits: ReadonlyMap<string, number>) => Settings;
  readonly localRange: (point: Point, bits: number) => PointRange;
  readonly observation: Observation;
  readonly request: SearchRequest;
}

/** Weights and activations have a mean of their own; roles that the recipe gives a width keep it. */
export async function allocatedBits({
  options,
  settingsAt,
  localRange,
  observation,
  request,
}: Allocation): Promise<ReadonlyMap<string, Bits>> {
  const { plan, context } = request;
  const { bits: mean = BITS, tensor_bits = {} } = options;
  const wide = settingsAt(new Map());
  const points = pointsOf(plan).filter(({ role }) => tensor_bits[role] === undefined);
  const weights = tensor_bits.weights === undefined ? plan.weights : [];
  const total = points.length + weights.length;
  let done = 0;
  const measure = async (id: string, elements: number, at: (bits: Bits) => Settings): Promise<AllocatedTensor> => {
    const distances = new Map<number, number>();
    for (const bits of WIDTHS) distances.set(bits, await distanceOf(at(bits), request));
    done += 1;
    context.progress(done / total, `Sensitivity of ${id}`);
    return { id, elements, distances };
  };
  const activations: AllocatedTensor[] = [];
  for (const point of points) {
    const at = (bits: Bits): Settings => ({
      ...wide,
      bits: new Map([[point.id, bits]]),
      ranges: new Map([...wide.ranges, [point.id, localRange(point, bits)]]),
    });
    activations.push(await measure(point.id, observation.elements.get(point.id) ?? 1, at));
  }
  const constants: AllocatedTensor[] = [];
  for (const planned of weights) {
    const { name } = planned.constant.value;
    const at = (bits: Bits): Settings => ({ ...wide, weights: new Map([...wide.weights, [name, roundWeight(planned, bits)]]) });
    constants.push(await measure(name, elementCount(planned.constant.tensor.dims), at));
  }
  return new Map([...uniformBits(plan, options), ...allocateBits(activations, mean), ...allocateBits(constants, mean)]);
}
