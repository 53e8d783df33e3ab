/** The order in which each group loses its units, by the criterion that the recipe names. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import type { GradientSource } from '../gradient-source.js';
import type { PruningGroup } from '../structure/pruning-structure.js';
import type { ImportanceOptions } from './options.js';
import type { GroupOrders } from './removal-order.js';

export interface OrderRequest {
  readonly model: Model;
  readonly groups: readonly PruningGroup[];
  readonly options: ImportanceOptions;
  readonly samples?: RunSource;
  readonly gradients?: GradientSource;
}

/** Throws EngineError `recipe_invalid` for a criterion that needs samples or gradients when there are none. */
export async function removalOrders(_request: OrderRequest, _context: MethodContext): Promise<GroupOrders> {
  throw new EngineError('recipe_invalid', 'Importance is being built.');
}
