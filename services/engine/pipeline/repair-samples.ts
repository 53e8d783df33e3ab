/** Samples to prove repairs on: the caller's calibration data, or inputs made from the model's declarations. */
import type { Model } from '../ir/index.js';
import type { MethodContext, RunSource } from '../method.js';
import { generatedSource } from './evaluation-source.js';

/** Throws EngineError when the model does not load, or no inputs can be found that it runs with. */
export async function repairSamples(model: Model, context: MethodContext): Promise<RunSource> {
  if (context.calibration) return context.calibration;
  const session = await context.runtime.open(model, { optimization: 'disabled' });
  try {
    return await generatedSource(model, session);
  } finally {
    await session.close();
  }
}
