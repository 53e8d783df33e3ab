/** All that is known of a model before a unit is removed: its structure, orders of removal, sizes and costs. */
import type { Model, Tensor } from '../ir/index.js';
import type { NodeChange, RunSource } from '../method.js';
import type { ModelCost } from './budget/model-cost.js';
import type { ValueSizes } from './budget/value-sizes.js';
import type { RemovalOrder } from './importance/removal-order.js';
import type { AnalyzedStructure } from './structure/structure-layout.js';

export interface PruningStudy {
  readonly model: Model;
  readonly structure: AnalyzedStructure;
  /** One for each group that may lose units. */
  readonly orders: readonly RemovalOrder[];
  /** Of values by name, for a run of `feeds`. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** The calibration samples that normal equations are made of. */
  readonly samples?: RunSource;
  readonly sizes: ValueSizes;
  readonly cost: ModelCost;
  /** Groups and channels that stay as they are, and why. */
  readonly left: readonly NodeChange[];
}

export const METHOD = 'structured-pruning';

export function leftLine(node: string, op_type: string, reason: string): NodeChange {
  return { node, op_type, action: 'left', by: METHOD, reason };
}
