/** A pruned copy of a model, and what it really costs. */
import { cloneModel, type Model } from '../ir/index.js';
import { modelBytes } from '../ir/model-bytes.js';
import type { MethodContext } from '../method.js';
import { countMacs, parameterCount } from '../ops/index.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import type { Cost } from './budget/model-cost.js';
import { WidthCosts } from './budget/width-costs.js';
import { type RemovalOrder, removedUnits } from './importance/removal-order.js';
import type { PruningStudy } from './pruning-study.js';
import { maskBranches, type ReducedBranch, reduceBranches } from './structure/branch-surgery.js';
import { counterparts } from './structure/counterpart.js';
import { maskUnits } from './structure/mask-units.js';
import type { PruningUnit } from './structure/pruning-structure.js';
import { removeUnits, type Surgery } from './structure/remove-units.js';
import { branchForms } from './structure/residual-branches.js';

export interface PrunedCandidate extends Surgery {
  readonly model: Model;
  /** Residual branches that are not whole any more. */
  readonly branches: readonly ReducedBranch[];
  /** Steps that each order has taken. */
  readonly steps: readonly number[];
}

type Studied = Pick<PruningStudy, 'model' | 'structure' | 'orders'>;

/** The model of the study without what the first `steps` of each order take. */
export function pruneCandidate({ model, structure, orders }: Studied, steps: readonly number[]): PrunedCandidate {
  const copy = cloneModel(model);
  const twins = counterparts(model, copy);
  const { units, branches } = taken(orders, steps);
  const { nodes, survivors } = removeUnits(copy, structure, units);
  return { model: copy, steps, branches, nodes, survivors: reduceBranches(copy, branches, { twins, survivors }) };
}

/** The oracle of it: the model of the study in which nothing reads the units, and the branches give nothing. */
export function maskCandidate({ model, structure, orders }: Studied, steps: readonly number[]): Model {
  const copy = cloneModel(model);
  const twins = counterparts(model, copy);
  const { units, branches } = taken(orders, steps);
  maskUnits(copy, structure, units);
  maskBranches(copy, branches, twins);
  return copy;
}

/** Units of layers that go with a branch are not taken one by one. */
function taken(orders: readonly RemovalOrder[], steps: readonly number[]): { units: PruningUnit[]; branches: ReducedBranch[] } {
  const costs = new WidthCosts(orders);
  const standing = [...orders.entries()].filter(([at]) => !costs.isGone(at, steps));
  return {
    units: standing.flatMap(([at, order]) => removedUnits(order, steps[at] ?? 0).flatMap((unit) => order.group.units[unit] ?? [])),
    branches: standing.flatMap(([at, { branch }]): ReducedBranch[] => {
      const form = branch && branchForms(branch)[(steps[at] ?? 0) - 1];
      return form ? [{ branch, form }] : [];
    }),
  };
}

/** Counted on the model as it is, for a run of the same feeds. */
export async function measuredCost(model: Model, { feeds }: PruningStudy, { runtime }: MethodContext): Promise<Cost> {
  const { shapes } = await observeShapes(runtime, { model, feeds });
  return { macs: countMacs(model, shapes).total, parameters: parameterCount(model), bytes: modelBytes(model) };
}
