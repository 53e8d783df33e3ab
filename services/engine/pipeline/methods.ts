/** The total table of compression methods: a step of a plan finds its implementation here. */

import { activationCompression } from '../activation-compression/index.js';
import { distributionAware } from '../distribution-aware/index.js';
import type { Model } from '../ir/index.js';
import { lowRank } from '../low-rank/index.js';
import type { MethodContext, MethodOutcome } from '../method.js';
import { cleanUp } from '../passes/index.js';
import { crossLayerScaling, precisionLowering } from '../precision/index.js';
import { layerDropping, structuredPruning } from '../pruning/index.js';
import { qat } from '../qat/index.js';
import { dynamicInt8, float16, float16Storage, mixedPrecision, repairQdq, staticInt8, weightOnly } from '../quantization/index.js';
import { sparsity } from '../sparsity/index.js';
import { distill, fineTune, train } from '../training/index.js';
import type { CompressionStep, MethodName } from './plan.js';
import { repairSamples } from './repair-samples.js';

type StepOf<Name extends MethodName> = Extract<CompressionStep, { method: Name }>;
type Application<Name extends MethodName> = (model: Model, step: StepOf<Name>, context: MethodContext) => Promise<MethodOutcome>;

const methods: { readonly [Name in MethodName]: Application<Name> } = {
  'clean-up': async (model, _step, context) => ({ nodes: await cleanUp(model, context) }),
  'dynamic-int8': async (model, { method: _, ...options }, context) => ({ nodes: await dynamicInt8(model, options, context) }),
  'static-int8': (model, { method: _, ...options }, context) => staticInt8(model, options, context),
  'weight-only': (model, { method: _, ...options }, context) => weightOnly(model, options, context),
  'mixed-precision': (model, { method: _, ...options }, context) => mixedPrecision(model, options, context),
  'low-rank': (model, { method: _, ...options }, context) => lowRank(model, options, context),
  sparsity: (model, { method: _, ...options }, context) => sparsity(model, options, context),
  'structured-pruning': (model, { method: _, ...options }, context) => structuredPruning(model, options, context),
  'layer-dropping': (model, { method: _, ...options }, context) => layerDropping(model, options, context),
  train: (model, { method: _, ...options }, context) => train(model, options, context),
  'fine-tune': (model, { method: _, ...options }, context) => fineTune(model, options, context),
  distill: (model, { method: _, ...options }, context) => distill(model, options, context),
  'distribution-aware': (model, { method: _, ...options }, context) => distributionAware(model, options, context),
  qat: (model, { method: _, ...options }, context) => qat(model, options, context),
  'cross-layer-scaling': (model, { method: _, ...options }, context) => crossLayerScaling(model, options, context),
  'precision-lowering': (model, { method: _, ...options }, context) => precisionLowering(model, options, context),
  'activation-compression': (model, { method: _, ...options }, context) => activationCompression(model, options, context),
  'float16-storage': async (model, { method: _, ...options }, context) => ({ nodes: await float16Storage(model, options, context) }),
  float16: (model, { method: _, ...options }, context) => float16(model, options, context),
  'repair-qdq': async (model, { method: _, ...options }, context) =>
    repairQdq(model, options, { ...context, calibration: await repairSamples(model, context) }),
};

/** Applies one step to the model in place. */
export function applyStep<Name extends MethodName>(
  model: Model,
  step: StepOf<Name> & { readonly method: Name },
  context: MethodContext,
): Promise<MethodOutcome> {
  return methods[step.method](model, step, context);
}
