/** The total table of compression methods: a step of a plan finds its implementation here. */

import type { Model } from '../ir/index.js';
import type { MethodContext, NodeChange } from '../method.js';
import { cleanUp } from '../passes/index.js';
import { dynamicInt8, float16Storage } from '../quantization/index.js';
import type { CompressionStep, MethodName } from './plan.js';

type StepOf<Name extends MethodName> = Extract<CompressionStep, { method: Name }>;

const methods: { readonly [Name in MethodName]: (model: Model, step: StepOf<Name>, context: MethodContext) => Promise<NodeChange[]> } = {
  'clean-up': (model, _step, context) => cleanUp(model, context),
  'dynamic-int8': (model, { method: _, ...options }, context) => dynamicInt8(model, options, context),
  'float16-storage': (model, { method: _, ...options }, context) => float16Storage(model, options, context),
};

/** Applies one step to the model in place. */
export function applyStep(model: Model, step: CompressionStep, context: MethodContext): Promise<NodeChange[]> {
  switch (step.method) {
    case 'clean-up':
      return methods['clean-up'](model, step, context);
    case 'dynamic-int8':
      return methods['dynamic-int8'](model, step, context);
    case 'float16-storage':
      return methods['float16-storage'](model, step, context);
    default:
      return step satisfies never;
  }
}
