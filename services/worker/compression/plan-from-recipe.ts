/** The seam between the wire and the engine: a recipe as customers write it becomes the plan that the engine runs. */
import Value from 'typebox/value';
import { CompressionRecipe } from '#contracts';
import { type CompressionPlan, EngineError } from '#engine';

/** The recipe was checked when the job was created; it is read again here because an older version of the service may have done that. */
export function planFromRecipe(recipe: unknown): CompressionPlan {
  const [fault] = Value.Errors(CompressionRecipe, recipe);
  if (fault !== undefined)
    throw new EngineError('recipe_invalid', `The recipe cannot be read at ${fault.instancePath || '/'}: ${fault.message}.`);
  return recipe as CompressionPlan;
}
