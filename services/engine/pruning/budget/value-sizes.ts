/** Sizes of the values and constants of a model as a function of how many units its groups have lost. */
import type { Node, Value } from '../../ir/index.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import type { PruningGroup } from '../structure/pruning-structure.js';
import { type AnalyzedStructure, NO_UNIT, type UnitTrack, type ValueLayout } from '../structure/structure-layout.js';

/** Units that are gone, by position of the order; of a branch, how many forms it has passed. */
export type Removal = ArrayLike<number>;

/** Indices that go along one axis with each unit of a group; units of one group are alike. */
interface Share {
  readonly group: number;
  readonly perUnit: number;
}

interface Sizes {
  readonly dims: readonly number[];
  readonly shares: ReadonlyMap<number, readonly Share[]>;
}

export class ValueSizes {
  private readonly sizes = new Map<Value, Sizes>();
  /** Of constants that one reader sees differently from the others. */
  private readonly readings = new Map<Node, Map<Value, Sizes>>();
  private readonly groupOf = new Map<number, number>();
  private readonly groups: readonly PruningGroup[];
  /** Positions of the branches that a node lies in. */
  private readonly branchesOf = new Map<Node, number[]>();

  constructor({ layouts }: AnalyzedStructure, orders: readonly Pick<RemovalOrder, 'group' | 'branch'>[]) {
    this.groups = orders.map(({ group }) => group);
    for (const [at, { group, branch }] of orders.entries()) {
      for (const { id } of group.units) this.groupOf.set(id, at);
      for (const node of branch?.nodes ?? []) this.branchesOf.set(node, [...(this.branchesOf.get(node) ?? []), at]);
    }
    for (const layout of layouts) if (layout.tracks.length > 0) this.learn(layout);
  }

  private learn({ value, use, dims, constant, tracks }: ValueLayout): void {
    const shares = new Map(tracks.map((track) => [track.axis, this.sharesOf(track)] as const));
    const sizes = { dims: constant?.dims ?? dims, shares };
    if (!use) {
      this.sizes.set(value, sizes);
      return;
    }
    const known = this.readings.get(use.node) ?? new Map<Value, Sizes>();
    this.readings.set(use.node, known.set(value, sizes));
    if (!this.sizes.has(value)) this.sizes.set(value, sizes);
  }

  /** Where rows differ in what they lose, they lose equal numbers: the mean is that of each. */
  private sharesOf({ axis, dims, units }: UnitTrack): Share[] {
    const counts = new Map<number, number>();
    for (const unit of units) {
      const group = unit === NO_UNIT ? undefined : this.groupOf.get(unit);
      if (group !== undefined) counts.set(group, (counts.get(group) ?? 0) + 1);
    }
    const rows = units.length / (dims[axis] ?? 1);
    return [...counts].map(([group, count]) => ({ group, perUnit: count / rows / (this.groups[group]?.units.length ?? 1) }));
  }

  /** The groups that `value`, as `reader` sees it, holds units of, and the branches that it lies in. */
  groupsIn(value: Value | null | undefined, reader?: Node): ReadonlySet<number> {
    const shares = [...(this.find(value, reader)?.shares.values() ?? [])].flat();
    return new Set([...shares.map(({ group }) => group), ...(value ? this.branchesAround(value, reader) : [])]);
  }

  /** The dims as a function of what is removed; `dims`: those of a value that never changes. */
  dimsOf(value: Value, dims: readonly number[], reader?: Node): (removed: Removal) => number[] {
    const sizes: Sizes = this.find(value, reader) ?? { dims, shares: new Map() };
    return (removed) =>
      sizes.dims.map((size, axis) =>
        (sizes.shares.get(axis) ?? []).reduce((left, { group, perUnit }) => left - perUnit * (removed[group] ?? 0), size),
      );
  }

  /** The share of the elements that remains, as a function of what is removed. */
  keptOf(value: Value, reader?: Node): (removed: Removal) => number {
    const { dims = [], shares = new Map<number, readonly Share[]>() } = this.find(value, reader) ?? {};
    const axes = [...shares].map(([axis, own]) => own.map(({ group, perUnit }) => ({ group, lost: perUnit / (dims[axis] ?? 1) })));
    const branches = this.branchesAround(value, reader);
    return (removed) => {
      if (branches.some((branch) => (removed[branch] ?? 0) > 0)) return 0;
      let kept = 1;
      for (const own of axes) {
        let left = 1;
        for (const { group, lost } of own) left -= lost * (removed[group] ?? 0);
        kept *= left;
      }
      return kept;
    };
  }

  /** Branches that take the value along when they go: of what reads the constant there, or of what makes the value. */
  private branchesAround(value: Value, reader: Node | undefined): readonly number[] {
    const of = (node: Node): readonly number[] => this.branchesOf.get(node) ?? [];
    if (reader) return of(reader);
    if (value.producer) return of(value.producer);
    const [first, ...others] = value.consumers;
    return first ? of(first).filter((branch) => others.every((node) => of(node).includes(branch))) : [];
  }

  private find(value: Value | null | undefined, reader?: Node): Sizes | undefined {
    if (!value) return undefined;
    return (reader && this.readings.get(reader)?.get(value)) ?? this.sizes.get(value);
  }
}
