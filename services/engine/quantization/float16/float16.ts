/** In construction. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext, MethodOutcome } from '../../method.js';
import type { Float16Options } from './options.js';

export async function float16(_model: Model, _options: Float16Options, _context: MethodContext): Promise<MethodOutcome> {
  throw new EngineError('recipe_invalid', 'in construction');
}
