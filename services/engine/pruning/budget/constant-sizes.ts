/** Elements of the constants of a model as a function of how many units its groups have lost. */
import { elementCount, type Value } from '../../ir/index.js';
import type { Constant } from '../../layers/weight-store.js';
import type { PruningGroup } from '../structure/pruning-structure.js';

/** Units that are gone, by position of the group. */
export type Removal = ArrayLike<number>;

/** Indices that go along one axis with each unit of a group; units of one group are alike. */
interface Share {
  readonly group: number;
  readonly perUnit: number;
}

export class ConstantSizes {
  /** Indices along the axes of a constant that belong to a group: by constant, axis, position of the group. */
  private readonly owned = new Map<Value, Map<number, Map<number, Set<number>>>>();

  constructor(private readonly groups: readonly PruningGroup[]) {
    for (const [at, { units }] of groups.entries()) {
      for (const { members } of units) for (const { constant, axis, indices } of members) this.own({ constant, axis, at }, indices);
    }
  }

  private own({ constant, axis, at }: { constant: Value; axis: number; at: number }, indices: readonly number[]): void {
    const axes = this.owned.get(constant) ?? new Map<number, Map<number, Set<number>>>();
    this.owned.set(constant, axes);
    const groups = axes.get(axis) ?? new Map<number, Set<number>>();
    axes.set(axis, groups);
    const known = groups.get(at) ?? new Set<number>();
    groups.set(at, known);
    for (const index of indices) known.add(index);
  }

  isPruned(constant: Value): boolean {
    return this.owned.has(constant);
  }

  /** What groups own along `axis` of `constant`. */
  shares(constant: Value, axis: number): readonly Share[] {
    const groups = this.owned.get(constant)?.get(axis) ?? new Map<number, Set<number>>();
    return [...groups].map(([group, indices]) => ({ group, perUnit: indices.size / (this.groups[group]?.units.length ?? 1) }));
  }

  /** The dims of a constant as a function of what is removed. */
  dimsOf({ value, tensor }: Constant): (removed: Removal) => number[] {
    const shares = tensor.dims.map((_, axis) => this.shares(value, axis));
    return (removed) =>
      tensor.dims.map((size, axis) =>
        (shares[axis] ?? []).reduce((left, { group, perUnit }) => left - perUnit * (removed[group] ?? 0), size),
      );
  }

  elementsOf(constant: Constant): (removed: Removal) => number {
    if (!this.isPruned(constant.value)) {
      const count = elementCount(constant.tensor.dims);
      return () => count;
    }
    const dims = this.dimsOf(constant);
    return (removed) => elementCount(dims(removed));
  }
}
