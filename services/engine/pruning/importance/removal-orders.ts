/** The order in which each group loses its units, by the criterion that the recipe names. */
import { EngineError } from '../../engine-errors.js';
import type { Model } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { GradientSource, MethodContext, RunSource } from '../../method.js';
import { consumerParts } from '../reconstruction/consumer-parts.js';
import { greedyOrders } from '../reconstruction/greedy-orders.js';
import type { PruningGroup } from '../structure/pruning-structure.js';
import { activationScores } from './activation-statistics.js';
import { combinedScores } from './combined-scores.js';
import { gateScores } from './gate-gradients.js';
import {
  type ActivationCriterion,
  activationCriteria,
  type Criterion,
  type GradientCriterion,
  gradientCriteria,
  type ImportanceOptions,
  weightCriteria,
} from './options.js';
import { randomScores } from './random-scores.js';
import { type GroupOrders, orderOfScores } from './removal-order.js';
import { type LayerScores, weightScores } from './weight-scores.js';

export interface OrderRequest {
  readonly model: Model;
  readonly groups: readonly PruningGroup[];
  readonly options: ImportanceOptions;
  readonly samples?: RunSource;
  readonly gradients?: GradientSource;
}

/** Throws EngineError `recipe_invalid` for a criterion that needs samples or gradients when there are none. */
export async function removalOrders(request: OrderRequest, context: MethodContext): Promise<GroupOrders> {
  const { model, groups, options, samples } = request;
  const criterion = options.criterion ?? (samples ? 'reconstruction' : 'l2');
  if (criterion === 'reconstruction') return greedyOrders({ model, groups, samples: needed(samples, criterion) }, context);
  const scores = await scoresOf(criterion, request, context);
  // LAMP scores are shares already.
  const normalizer = options.normalizer ?? (criterion === 'lamp' ? 'none' : 'mean');
  const ranked = groups.map((group, at) => {
    const layers = scores[at] ?? [];
    if (layers.length === 0) return { group, reason: `nothing in the layers of its units tells what '${criterion}' wants to know` };
    return orderOfScores(group, combinedScores(layers, options.reduction ?? 'mean', normalizer));
  });
  return {
    orders: ranked.flatMap((each) => ('reason' in each ? [] : [each])),
    unranked: ranked.flatMap((each) => ('reason' in each ? [each] : [])),
  };
}

/** By group. */
async function scoresOf(
  criterion: Exclude<Criterion, 'reconstruction'>,
  request: OrderRequest,
  context: MethodContext,
): Promise<readonly LayerScores[]> {
  const { model, groups, options } = request;
  if (isOneOf(weightCriteria, criterion)) return groups.map((group) => weightScores(model, group, criterion));
  if (isOneOf(activationCriteria, criterion)) return activationGroups(criterion, request, context);
  if (isOneOf(gradientCriteria, criterion)) return (await gradientGroups(criterion, request, context)).map((scores) => [scores]);
  return groups.map(({ units, id }) => [randomScores(units.length, id, options.seed ?? 0)]);
}

function isOneOf<T extends string>(all: readonly T[], criterion: string): criterion is T {
  return all.some((each) => each === criterion);
}

async function activationGroups(criterion: ActivationCriterion, request: OrderRequest, context: MethodContext): Promise<LayerScores[]> {
  const { model, groups, samples } = request;
  const store = new WeightStore(model);
  const parts = groups.map((group) => consumerParts(group, store));
  const found = await activationScores({ model, parts: parts.flat(), criterion, samples: needed(samples, criterion) }, context);
  return parts.map((own) => own.flatMap((part): Float64Array | Float64Array[] => found.get(part) ?? []));
}

function gradientGroups(
  criterion: GradientCriterion,
  { model, groups, samples, gradients }: OrderRequest,
  context: MethodContext,
): Promise<Float64Array[]> {
  if (!gradients)
    throw new EngineError(
      'recipe_invalid',
      `The criterion '${criterion}' needs gradients, and nothing here computes them: use 'reconstruction' with a data set (--data, or data.calibration_id), or 'l2' without.`,
    );
  const store = new WeightStore(model);
  return gateScores({ model, store, groups, samples: needed(samples, criterion), source: gradients, criterion }, context);
}

function needed(samples: RunSource | undefined, criterion: Criterion): RunSource {
  if (samples) return samples;
  throw new EngineError(
    'recipe_invalid',
    `The criterion '${criterion}' looks at samples: give a data set (--data, or data.calibration_id), or use 'l2'.`,
  );
}
