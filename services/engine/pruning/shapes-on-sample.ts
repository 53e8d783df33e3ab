/** Sizes of all values of a model on the first sample that it runs with. */
import { EngineError } from '../engine-errors.js';
import type { Model } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { sampleFeeds } from '../timing/observed-activations.js';
import type { PruningStudy } from './pruning-study.js';

/** Throws EngineError `model_unsupported` when no inputs are known that the model runs with. */
export async function shapesOnSample(
  model: Model,
  context: MethodContext,
  method: string,
): Promise<Pick<PruningStudy, 'feeds' | 'shapes'>> {
  for await (const feeds of sampleFeeds(model, context)) {
    const { shapes } = await observeShapes(context.runtime, { model, feeds });
    if (model.graph.outputs.every(({ name }) => shapes.has(name))) return { feeds, shapes };
  }
  throw new EngineError(
    'model_unsupported',
    `${method} needs a sample that the model runs with: give a data set of typical inputs (--data, or data.calibration_id).`,
  );
}
