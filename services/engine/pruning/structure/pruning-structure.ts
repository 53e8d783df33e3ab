/** What can be removed from a model, and what goes with it: the result of the dependency analysis. */
import type { Node, Value } from '../../ir/index.js';

/** Slices of one constant that go when a unit goes: all elements whose index along `axis` is one of `indices`. */
export interface Member {
  /** Initializer that holds the slices. */
  readonly constant: Value;
  readonly axis: number;
  /** Several where one unit repeats: a channel that was flattened, the gates of a recurrent layer. Ascending. */
  readonly indices: readonly number[];
  /**
   * Set when only a part of the constant is meant: the elements whose index along this other axis is in [from, to). Directions of a
   * recurrent layer, groups of a convolution, heads.
   */
  readonly within?: { readonly axis: number; readonly from: number; readonly to: number };
  /** The node that reads the constant. */
  readonly node: Node;
  /** 'producer': computes the unit; 'consumer': reads it; 'parameter': scales, shifts or names it on its way. */
  readonly role: 'producer' | 'consumer' | 'parameter';
}

/** The smallest set of slices that can be removed together: what the others compute does not change by more than its contribution. */
export interface PruningUnit {
  /** Unique in the structure. */
  readonly id: number;
  readonly members: readonly Member[];
}

/** 'branches': a residual branch as a whole, which has no units. */
export type UnitKind = 'channels' | 'features' | 'heads' | 'hidden' | 'groups' | 'branches';

/** Units of one stream: alike in their members, ranked against each other. */
export interface PruningGroup {
  /** Name of the first producing node; unique in the structure. */
  readonly id: string;
  readonly kind: UnitKind;
  readonly units: readonly PruningUnit[];
  readonly producers: readonly Node[];
  readonly consumers: readonly Node[];
  /** Parts of the units (by position in `units`) that must lose equal numbers: grouped convolutions, directions. One part: free. */
  readonly parts: readonly (readonly number[])[];
  /** Set when removing a unit changes what the others compute (statistics of a normalization over the channels). */
  readonly approximate?: string;
}

/** Channels that stay, and why: the report's `left` lines. */
export interface FrozenChannels {
  readonly node: Node;
  /** The value whose channels stay. */
  readonly value: Value;
  readonly axis: number;
  readonly reason: string;
}

export interface PruningStructure {
  readonly groups: readonly PruningGroup[];
  readonly frozen: readonly FrozenChannels[];
}

/**
 * Indices that remain, ascending, by initializer name and axis: one list, or, where each position of another axis loses other indices
 * (members with `within`), one for each of its positions, all of the same length. A constant that was copied for one of its readers has
 * its entries under the name of the copy.
 */
export type Survivors = ReadonlyMap<string, ReadonlyMap<number, KeptRows>>;

export type KeptRows = readonly (readonly number[])[];
