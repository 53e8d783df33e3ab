/** In construction. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext, MethodOutcome } from '../../method.js';
import type { StaticInt8Options } from './options.js';

export async function staticInt8(_model: Model, _options: StaticInt8Options, _context: MethodContext): Promise<MethodOutcome> {
  throw new EngineError('recipe_invalid', 'in construction');
}
