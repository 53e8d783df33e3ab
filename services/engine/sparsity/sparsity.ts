/** Method sparsity: zeros in the weights, anywhere, N of each M inputs staying, or in blocks. Smaller once compressed, never faster. */
import { EngineError } from '../engine-errors.js';
import type { Model, Node } from '../ir/index.js';
import { WeightStore } from '../layers/weight-store.js';
import { type MethodContext, type MethodOutcome, partOf } from '../method.js';
import { boundSparsity, withPruned, writePruned } from './bounded-sparsity.js';
import { describeLayers, leftLines } from './layer-lines.js';
import { type LayerNoise, layerNoise } from './layer-noise.js';
import type { Criterion, SparsityOptions } from './options.js';
import { planSparsity } from './plan.js';
import { pruneWeights } from './prune-weights.js';
import { scheduledShares } from './schedule.js';

const NO_SPEED =
  'sparsity: zeros do not make the model faster, as onnxruntime has no sparse kernels, and its file is as large as before until it is compressed (compressed_bytes).';

/**
 * Edits `model` in place. Throws EngineError `recipe_invalid` for a criterion or a bound that needs samples when there are none,
 * and for options that contradict each other.
 */
export async function sparsity(model: Model, options: SparsityOptions, context: MethodContext): Promise<MethodOutcome> {
  const criterion = criterionOf(options, context);
  const store = new WeightStore(model);
  const plan = planSparsity(model, store, options);
  if (plan.weights.length === 0)
    return { nodes: leftLines(plan.left), warnings: ['sparsity: the model has no weights that the recipe lets become zero.'] };
  const { calibration: samples } = context;
  const correctBiases = options.bias_correction ?? true;
  const pruned = await pruneWeights({
    model,
    weights: plan.weights,
    criterion,
    shares: scheduledShares(options.schedule),
    ...(samples ? { samples } : {}),
    correctBiases,
    context: partOf(context, 0, 0.7),
  });
  const bounded = await boundSparsity({ model, pruned, leastSqnr: options.min_sqnr_db, correctBiases }, partOf(context, 0.7, 0.95));
  const values = new Map([...bounded.pruned].map(([weight, matrix]) => [weight, matrix.values]));
  const noise = samples
    ? await layerNoise({ dense: model, pruned: withPruned(model, bounded.pruned), values, samples, context })
    : new Map<Node, LayerNoise>();
  writePruned(store, bounded.pruned, (node) => node);
  const lines = describeLayers({ plan, bounded, noise, criterion });
  return { ...lines, warnings: [NO_SPEED, ...bounded.warnings] };
}

function criterionOf({ criterion, min_sqnr_db }: SparsityOptions, { calibration }: MethodContext): Criterion {
  if (calibration) return criterion ?? 'sparsegpt';
  if (criterion !== undefined && criterion !== 'magnitude')
    throw new EngineError(
      'recipe_invalid',
      `The criterion '${criterion}' weighs weights by their inputs and needs samples: give a data set (--data, or data.calibration_id), or use 'magnitude'.`,
    );
  if (min_sqnr_db !== undefined)
    throw new EngineError('recipe_invalid', 'min_sqnr_db is measured on samples: give a data set (--data, or data.calibration_id).');
  return 'magnitude';
}
