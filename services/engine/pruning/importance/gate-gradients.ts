/** What the loss says about units: derivatives with respect to a gate on each, from the gradients of the weights that read it. */
import { float32Tensor, type Model, type Tensor } from '../../ir/index.js';
import type { WeightStore } from '../../layers/weight-store.js';
import type { GradientSource, MethodContext, RunSource } from '../../method.js';
import { inverseOfPositive } from '../../normal-equations/linear-algebra.js';
import type { Member, PruningGroup } from '../structure/pruning-structure.js';
import { memberWeights } from './member-weights.js';
import type { GradientCriterion } from './options.js';

export interface GateRequest {
  readonly model: Model;
  readonly store: WeightStore;
  readonly groups: readonly PruningGroup[];
  readonly samples: RunSource;
  readonly source: GradientSource;
  readonly criterion: GradientCriterion;
}

/** Batches for the first-order criterion; the other two want gradients of single samples. */
const TAYLOR_BATCH = 16;
/** Share of the mean of the diagonal of F that is added to it: there may be fewer samples than units. */
const DAMPING = 0.01;

/**
 * A gate a on a unit that its consumers read as a x has dL/da = sum of w dL/dw over their weights for it; exact at a = 1. Of J, the
 * derivatives by batch:
 *   taylor  E|J_u|  (Molchanov et al., arXiv 1611.06440),
 *   fisher  E[J_u^2] / 2  (Theis et al., arXiv 1801.05787),
 *   obs     1 / (2 [F^-1]_uu),  F = E[J J^T] within the group (Hassibi and Stork 1993, the gates being 1).
 * By group, in order.
 */
export async function gateScores(request: GateRequest, context: MethodContext): Promise<Float64Array[]> {
  const { groups, store, criterion, source, model, samples } = request;
  const readings = groups.map((group) => gateReadings(group, store));
  const constants = [...new Set(readings.flatMap((reading) => reading.map(({ constant }) => constant)))];
  const sums = groups.map(({ units }) => new GateSums(units.length, criterion));
  const batch = criterion === 'taylor' ? TAYLOR_BATCH : 1;
  for await (const gradients of source({ model, constants, samples, batch, context })) {
    context.signal.throwIfAborted();
    for (const [at, sum] of sums.entries()) sum.add(derivatives(readings[at] ?? [], gradients, sum.units));
  }
  return sums.map((sum) => sum.scores());
}

/** A constant that reads units, with the slices that it has of each. */
interface GateReading {
  readonly constant: string;
  readonly tensor: Tensor;
  readonly slices: readonly (readonly Member[])[];
}

/** Weights of the consumers; of the producers where no constant reads the units. */
function gateReadings({ units }: PruningGroup, store: WeightStore): GateReading[] {
  const role = units.some(({ members }) => members.some((member) => member.role === 'consumer')) ? 'consumer' : 'producer';
  const readings = new Map<string, GateReading & { slices: Member[][] }>();
  for (const [unit, { members }] of units.entries()) {
    for (const member of members) {
      const tensor = store.constant(member.constant)?.tensor;
      if (member.role !== role || tensor?.dataType !== 'float32') continue;
      const { name } = member.constant;
      const reading = readings.get(name) ?? { constant: name, tensor, slices: units.map((): Member[] => []) };
      reading.slices[unit]?.push(member);
      readings.set(name, reading);
    }
  }
  return [...readings.values()];
}

function derivatives(readings: readonly GateReading[], gradients: ReadonlyMap<string, Float32Array>, units: number): Float64Array {
  const sums = new Float64Array(units);
  for (const { constant, tensor, slices } of readings) {
    const values = gradients.get(constant);
    if (!values) throw new Error(`the gradient source gave no gradient of "${constant}"`);
    const gradient = float32Tensor(tensor.dims, values);
    for (const [unit, own] of slices.entries()) {
      for (const member of own) {
        const [weights, changes] = [memberWeights(tensor, member), memberWeights(gradient, member)];
        for (const [at, weight] of weights.entries()) sums[unit] = (sums[unit] ?? 0) + weight * (changes[at] ?? 0);
      }
    }
  }
  return sums;
}

class GateSums {
  private readonly total: Float64Array;
  private batches = 0;

  constructor(
    readonly units: number,
    private readonly criterion: GradientCriterion,
  ) {
    this.total = new Float64Array(criterion === 'obs' ? units ** 2 : units);
  }

  add(gates: Float64Array): void {
    this.batches += 1;
    for (const [u, gate] of gates.entries()) {
      if (this.criterion !== 'obs') this.total[u] = (this.total[u] ?? 0) + (this.criterion === 'taylor' ? Math.abs(gate) : gate ** 2 / 2);
      else for (const [v, other] of gates.entries()) this.total[u * this.units + v] = (this.total[u * this.units + v] ?? 0) + gate * other;
    }
  }

  scores(): Float64Array {
    const mean = this.total.map((sum) => sum / Math.max(1, this.batches));
    return this.criterion === 'obs' ? brainSurgeon(mean, this.units) : mean;
  }
}

function brainSurgeon(fisher: Float64Array, units: number): Float64Array {
  let trace = 0;
  for (let u = 0; u < units; u += 1) trace += fisher[u * units + u] ?? 0;
  const added = trace > 0 ? (DAMPING * trace) / units : 1;
  const damped = fisher.map((value, at) => (at % (units + 1) === 0 ? value + added : value));
  const inverse = inverseOfPositive(damped, units);
  return Float64Array.from({ length: units }, (_, u) =>
    inverse ? 1 / (2 * (inverse[u * (units + 1)] ?? 1)) : (fisher[u * (units + 1)] ?? 0) / 2,
  );
}
