/** Where the units of a structure stand in the values of its model: what surgery and masks go by. */
import type { Model, Node, Tensor, Value } from '../../ir/index.js';
import type { PruningStructure } from './pruning-structure.js';
import type { Contraction } from './structure-scope.js';

/** The number of an index that never goes. */
export const NO_UNIT = -1;

/** One axis of a value that can become shorter. */
export interface UnitTrack {
  readonly axis: number;
  /** Axes at whose positions other indices go, equal numbers at each. */
  readonly rows: readonly number[];
  /** Sizes along `axis` and `rows`, 1 along the other axes of the value. */
  readonly dims: readonly number[];
  /** Row-major over `dims`: the id of the unit, or NO_UNIT. */
  readonly units: Int32Array;
}

/** A value, or one reading of a constant. */
export interface ValueLayout {
  readonly value: Value;
  readonly use?: { readonly node: Node; readonly index: number };
  /** As observed on the samples, for a value that is computed. */
  readonly dims: readonly number[];
  readonly constant: Tensor | undefined;
  readonly tracks: readonly UnitTrack[];
}

/** A structure with the way back into the model that it was made of. */
export interface AnalyzedStructure extends PruningStructure {
  readonly model: Model;
  readonly layouts: readonly ValueLayout[];
  readonly contractions: readonly Contraction[];
}
