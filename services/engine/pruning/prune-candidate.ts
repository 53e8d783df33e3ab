/** A pruned copy of a model, and what it really costs. */
import { cloneModel, type Model } from '../ir/index.js';
import { modelBytes } from '../ir/model-bytes.js';
import type { MethodContext } from '../method.js';
import { countMacs, parameterCount } from '../ops/index.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import type { Cost } from './budget/model-cost.js';
import { removedUnits } from './importance/removal-order.js';
import type { PruningStudy } from './pruning-study.js';
import { removeUnits, type Surgery } from './structure/remove-units.js';

export interface PrunedCandidate extends Surgery {
  readonly model: Model;
  /** Steps that each order has taken. */
  readonly steps: readonly number[];
}

/** The model of the study without the units that the first `steps` of each order take. */
export function pruneCandidate(
  { model, structure, orders }: Pick<PruningStudy, 'model' | 'structure' | 'orders'>,
  steps: readonly number[],
): PrunedCandidate {
  const copy = cloneModel(model);
  const units = orders.flatMap((order, at) => removedUnits(order, steps[at] ?? 0).flatMap((unit) => order.group.units[unit] ?? []));
  return { model: copy, steps, ...removeUnits(copy, structure, units) };
}

/** Counted on the model as it is, for a run of the same feeds. */
export async function measuredCost(model: Model, { feeds }: PruningStudy, { runtime }: MethodContext): Promise<Cost> {
  const { shapes } = await observeShapes(runtime, { model, feeds });
  return { macs: countMacs(model, shapes).total, parameters: parameterCount(model), bytes: modelBytes(model) };
}
