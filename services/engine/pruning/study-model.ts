/** Studies a model before a unit is removed: sizes on a sample, dependencies, orders of removal, and the proof that they are sound. */
import type { Model } from '../ir/index.js';
import { nameMatcher } from '../layers/name-patterns.js';
import { reportName } from '../layers/weight-store.js';
import { firstSamples, type MethodContext, type NodeChange } from '../method.js';
import { countMacs } from '../ops/index.js';
import { ModelCost } from './budget/model-cost.js';
import { ValueSizes } from './budget/value-sizes.js';
import { carriedStates } from './carried-states.js';
import type { RemovalOrder, UnrankedGroup } from './importance/removal-order.js';
import { removalOrders } from './importance/removal-orders.js';
import { removesBranches, type StructuredPruningOptions } from './options.js';
import { leftLine, METHOD, type PruningStudy } from './pruning-study.js';
import { branchOrders, samplesForBranches } from './reconstruction/branch-orders.js';
import { samplesWorth } from './sample-limit.js';
import { shapesOnSample } from './shapes-on-sample.js';
import { analyzeStructure } from './structure/analyze-structure.js';
import type { PruningGroup } from './structure/pruning-structure.js';
import { residualBranches } from './structure/residual-branches.js';
import type { AnalyzedStructure } from './structure/structure-layout.js';
import { verifyOrders } from './verified-orders.js';

/** Throws EngineError `model_unsupported` when no inputs are known that the model runs with. */
export async function studyModel(model: Model, options: StructuredPruningOptions, given: MethodContext): Promise<PruningStudy> {
  const { feeds, shapes } = await shapesOnSample(model, given, METHOD);
  const { calibration } = given;
  const worth = samplesWorth(model, shapes, calibration?.fixedBatch ?? 1);
  const context = calibration ? { ...given, calibration: firstSamples(calibration, worth) } : given;
  const structure = analyzeStructure(model, shapes, { states: carriedStates(model, context) });
  const chosen = chosenGroups(structure, options);
  const { calibration: samples, gradients } = context;
  const request = { model, groups: chosen.groups, options, ...(samples ? { samples } : {}), ...(gradients ? { gradients } : {}) };
  const { orders: ranked, unranked } = await removalOrders(request, context);
  const branches = await rankedBranches({ model, shapes }, options, context);
  const { orders, refuted } = await verifyOrders({ model, structure, feeds, orders: [...ranked, ...branches.orders] }, context);
  const sizes = new ValueSizes(structure, orders);
  return {
    ...{ model, structure, orders, shapes, feeds, sizes },
    ...(context.calibration ? { samples: context.calibration } : {}),
    cost: new ModelCost({ model, sizes, shapes, orders }),
    left: [
      ...structure.frozen.map(({ node, reason }) => leftLine(reportName(node), node.opType, reason)),
      ...branches.left,
      ...[...chosen.excluded, ...unranked, ...refuted].flatMap(({ group, reason }) => linesOf(group, reason)),
    ],
  };
}

/** None unless they may go, and something tells what they are worth in the same terms as channels. */
async function rankedBranches(
  { model, shapes }: Pick<PruningStudy, 'model' | 'shapes'>,
  options: StructuredPruningOptions,
  context: MethodContext,
): Promise<{ readonly orders: readonly RemovalOrder[]; readonly left: readonly NodeChange[] }> {
  const { calibration: samples } = context;
  if (!samples || !removesBranches(options)) return { orders: [], left: [] };
  const isExcluded = nameMatcher(options.exclude ?? []);
  const branches = residualBranches(model, shapes).filter(({ nodes }) => !nodes.some((node) => isExcluded(reportName(node))));
  const count = samplesForBranches(branches, countMacs(model, shapes).total / (samples.fixedBatch ?? 1));
  if (count === undefined && options.remove_branches === undefined)
    return { orders: [], left: branches.map(({ sum }) => leftLine(reportName(sum), sum.opType, UNWEIGHED)) };
  return { orders: await branchOrders({ model, branches, samples, ...(count === undefined ? {} : { count }) }, context), left: [] };
}

const UNWEIGHED = 'weighing its residual branch would take minutes: "remove_branches": true does so all the same';

function chosenGroups(
  { groups }: AnalyzedStructure,
  { exclude = [], approximate = false }: StructuredPruningOptions,
): { readonly groups: PruningGroup[]; readonly excluded: UnrankedGroup[] } {
  const isExcluded = nameMatcher(exclude);
  const excluded: UnrankedGroup[] = [];
  const free = groups.filter((group) => {
    const named = group.producers.find((node) => isExcluded(reportName(node)));
    const reason = named
      ? `the recipe excludes ${reportName(named)}, whose channels go with these`
      : group.approximate !== undefined && !approximate
        ? `${group.approximate}; "approximate": true prunes it all the same`
        : undefined;
    if (reason !== undefined) excluded.push({ group, reason });
    return reason === undefined;
  });
  return { groups: free, excluded };
}

function linesOf({ producers }: PruningGroup, reason: string): NodeChange[] {
  return producers.map((node) => leftLine(reportName(node), node.opType, reason));
}
