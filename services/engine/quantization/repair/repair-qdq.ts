/** In construction. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext, MethodOutcome } from '../../method.js';
import type { RepairQdqOptions } from './options.js';

export async function repairQdq(_model: Model, _options: RepairQdqOptions, _context: MethodContext): Promise<MethodOutcome> {
  throw new EngineError('recipe_invalid', 'in construction');
}
