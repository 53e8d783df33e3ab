/** The order in which a group loses its units when each goes at the least error that the others cannot make good. */
import { channelCount, channelDepth, fromRows } from '../../layers/channel-layout.js';
import type { GramMatrix } from '../../normal-equations/gram-matrices.js';
import type { PruningGroup } from '../structure/pruning-structure.js';
import { BlockElimination } from './block-elimination.js';
import { type ConsumerPart, type ConsumerWeight, outputsPerGroup } from './consumer-parts.js';

/** A consumer as it computes without the units, its other weights fitted anew. */
export interface RefittedWeight {
  readonly weight: ConsumerWeight;
  /** In the order of the constant. */
  readonly values: Float32Array;
  /** What its bias must add for the means to stay, by output. */
  readonly shift: Float64Array;
}

export interface Refit {
  /** Steps taken. */
  readonly steps: number;
  readonly weights: readonly RefittedWeight[];
}

export interface GreedyRemoval {
  /** As in RemovalOrder. */
  readonly steps: readonly (readonly number[])[];
  /** As in RemovalOrder: relative errors of the consumers' outputs, summed over the consumers. */
  readonly costs: Float64Array;
  /** The consumers at the numbers of steps that were asked for. */
  readonly refits: readonly Refit[];
}

export interface SeenPart extends ConsumerPart {
  /** Of the consumer's rows in the original network. */
  readonly sums: GramMatrix;
}

/** Columns of one elimination: its work grows with the cube. Units of wider layers are divided, and others' columns stay as they are. */
const COLUMNS_MAX = 640;

/**
 * At each step the unit with the least sum over the consumers of error / variance of the consumer's outputs goes, one of each part.
 * One unit of each part stays.
 */
export function greedyRemoval({ units, parts }: PruningGroup, seen: readonly SeenPart[], refitAt: readonly number[]): GreedyRemoval {
  const eliminations = seen.flatMap((part) => eliminationsOf(part));
  const left = parts.map((part) => new Set(part));
  const length = Math.max(0, Math.min(...left.map((part) => part.size)) - 1);
  const steps: number[][] = [];
  const costs = new Float64Array(length + 1);
  const refits: Refit[] = [];
  const energies = energiesOf(eliminations);
  const costOf = (unit: number): number => eliminations.reduce((sum, each) => sum + each.cost(unit) / (energies.get(each.weight) ?? 1), 0);
  const known = Float64Array.from(units, (_, unit) => costOf(unit));
  for (let step = 0; step < length; step += 1) {
    costs[step + 1] = costs[step] ?? 0;
    const taken = left.map((part) => {
      const unit = cheapest(part, known);
      costs[step + 1] = (costs[step + 1] ?? 0) + (known[unit] ?? 0);
      part.delete(unit);
      const changed = eliminations.filter((each) => each.remove(unit));
      for (const rest of left) for (const other of rest) if (changed.some((each) => each.holds(other))) known[other] = costOf(other);
      return unit;
    });
    steps.push(taken);
    if (refitAt.includes(step + 1)) refits.push({ steps: step + 1, weights: refittedWeights(seen, eliminations) });
  }
  return { steps, costs, refits };
}

/** Variance of the outputs of each consumer; 1 where nothing varies, as then nothing costs. */
function energiesOf(eliminations: readonly PartElimination[]): Map<ConsumerWeight, number> {
  const energies = new Map<ConsumerWeight, number>();
  for (const { weight, energy } of eliminations) energies.set(weight, (energies.get(weight) ?? 0) + energy);
  for (const [weight, energy] of energies) if (!(energy > 0)) energies.set(weight, 1);
  return energies;
}

function cheapest(part: Iterable<number>, costs: Float64Array): number {
  let best = -1;
  for (const unit of part) if (best < 0 || (costs[unit] ?? 0) < (costs[best] ?? 0)) best = unit;
  return best;
}

/** Some columns of one part, with the units that they belong to. */
class PartElimination {
  private readonly elimination: BlockElimination;
  private readonly blockOf = new Map<number, number>();

  constructor(
    private readonly part: SeenPart,
    readonly columns: readonly number[],
    units: readonly number[],
  ) {
    const at = new Map(columns.map((column, position) => [column, position] as const));
    for (const [block, unit] of units.entries()) this.blockOf.set(unit, block);
    const outputs = outputsPerGroup(part.weight);
    this.elimination = new BlockElimination({
      weights: this.ownWeights(outputs),
      outputs,
      covariance: covarianceOf(part, columns),
      depth: columns.length,
      blocks: units.map((unit) => (part.blocks[unit] ?? []).flatMap((column) => at.get(column) ?? [])),
    });
  }

  get weight(): ConsumerWeight {
    return this.part.weight;
  }

  get energy(): number {
    return this.elimination.energy;
  }

  cost(unit: number): number {
    const block = this.blockOf.get(unit);
    return block === undefined ? 0 : this.elimination.cost(block);
  }

  holds(unit: number): boolean {
    return this.blockOf.has(unit);
  }

  /** False when it does not hold the unit. */
  remove(unit: number): boolean {
    const block = this.blockOf.get(unit);
    if (block !== undefined) this.elimination.remove(block);
    return block !== undefined;
  }

  /** Puts what has become of the columns into the matrix of the consumer. */
  write(matrix: Float64Array): void {
    const { depth, first, outputs } = this.place();
    for (let o = 0; o < outputs; o += 1) {
      for (const [at, column] of this.columns.entries())
        matrix[(first + o) * depth + column] = this.elimination.weights[o * this.columns.length + at] ?? 0;
    }
  }

  private ownWeights(outputs: number): Float64Array {
    const { depth, first } = this.place();
    const { matrix } = this.part.weight;
    const own = new Float64Array(outputs * this.columns.length);
    for (let o = 0; o < outputs; o += 1) {
      for (const [at, column] of this.columns.entries()) own[o * this.columns.length + at] = matrix[(first + o) * depth + column] ?? 0;
    }
    return own;
  }

  private place(): { depth: number; first: number; outputs: number } {
    const { weight, group } = this.part;
    const outputs = outputsPerGroup(weight);
    return { depth: channelDepth(weight.form.layout), first: group * outputs, outputs };
  }
}

function eliminationsOf(part: SeenPart): PartElimination[] {
  const { depth } = part.sums;
  const units = part.blocks.flatMap((columns, unit) => (columns.length > 0 ? [unit] : []));
  if (depth <= COLUMNS_MAX)
    return [
      new PartElimination(
        part,
        Array.from({ length: depth }, (_, column) => column),
        units,
      ),
    ];
  const divided: PartElimination[] = [];
  let own: number[] = [];
  let columns: number[] = [];
  const close = (): void => {
    if (own.length > 0) divided.push(new PartElimination(part, columns, own));
    [own, columns] = [[], []];
  };
  for (const unit of units) {
    const added = part.blocks[unit] ?? [];
    if (columns.length + added.length > COLUMNS_MAX) close();
    own.push(unit);
    columns.push(...added);
  }
  close();
  return divided;
}

/** Of some columns: X^T X / n - mean mean^T. */
function covarianceOf({ sums, group }: SeenPart, columns: readonly number[]): Float64Array {
  const { gram, mean, depth, rows } = sums;
  const base = group * depth;
  const covariance = new Float64Array(columns.length ** 2);
  for (const [i, row] of columns.entries()) {
    for (const [j, column] of columns.entries()) {
      const product = (gram[(base + row) * depth + column] ?? 0) / rows;
      covariance[i * columns.length + j] = product - (mean[base + row] ?? 0) * (mean[base + column] ?? 0);
    }
  }
  return covariance;
}

function refittedWeights(seen: readonly SeenPart[], eliminations: readonly PartElimination[]): RefittedWeight[] {
  const byWeight = new Map<ConsumerWeight, SeenPart[]>();
  for (const part of seen) byWeight.set(part.weight, [...(byWeight.get(part.weight) ?? []), part]);
  return [...byWeight].map(([weight, parts]) => {
    const matrix = Float64Array.from(weight.matrix);
    for (const each of eliminations) if (each.weight === weight) each.write(matrix);
    const depth = channelDepth(weight.form.layout);
    const outputs = outputsPerGroup(weight);
    const shift = Float64Array.from({ length: channelCount(weight.form.layout) }, (_, channel) => {
      const part = parts.find(({ group }) => group === Math.floor(channel / outputs));
      let sum = 0;
      for (let k = 0; part && k < depth; k += 1) {
        const lost = (weight.matrix[channel * depth + k] ?? 0) - (matrix[channel * depth + k] ?? 0);
        sum += lost * (part.sums.mean[part.group * depth + k] ?? 0);
      }
      return sum;
    });
    return { weight, values: fromRows(matrix, weight.form.layout, Float32Array), shift };
  });
}
