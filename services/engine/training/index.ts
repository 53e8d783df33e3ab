/** The methods that learn. */

import { EngineError } from '../engine-errors.js';
import type { Model } from '../ir/index.js';
import type { MethodContext, MethodOutcome } from '../method.js';
import type { TrainingOptions } from './options.js';
import { trainModel } from './train-model.js';

export { lossGradients } from './loss-gradients.js';
export { readsLabels } from './loss-terms.js';
export type { TrainingOptions } from './options.js';
export { type TrainingTask, trainModel } from './train-model.js';

export interface DistillOptions extends TrainingOptions {
  /** The model of the job as it came in ('source', the default), or the one that came with the job ('given'). */
  readonly teacher?: 'source' | 'given';
}

/** From the weights that the model has, against labels. */
export function train(model: Model, options: TrainingOptions, context: MethodContext): Promise<MethodOutcome> {
  return trainModel(model, { by: 'train', options, defaults: { epochs: 10, learningRate: 1e-3 } }, context);
}

/** After a change that cost accuracy: against labels, a few epochs. */
export function fineTune(model: Model, options: TrainingOptions, context: MethodContext): Promise<MethodOutcome> {
  return trainModel(model, { by: 'fine-tune', options, defaults: { epochs: 3, learningRate: 1e-3 } }, context);
}

/** After a teacher; labels are not needed. */
export async function distill(
  model: Model,
  { teacher = 'source', ...options }: DistillOptions,
  context: MethodContext,
): Promise<MethodOutcome> {
  const chosen = teacher === 'given' ? context.teacher : (context.source ?? context.teacher);
  if (!chosen)
    throw new EngineError(
      'recipe_invalid',
      'The recipe distils from a given teacher, and the job brings none: add "teacher_model_id", or --teacher.',
    );
  return trainModel(model, { by: 'distill', options, defaults: { epochs: 3, learningRate: 1e-3 }, teacher: chosen }, context);
}
