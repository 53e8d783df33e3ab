/** What residual branches are worth: the noise at the outputs of the model when one alone is reduced, and what reads it is fitted anew. */
import { cloneModel, type Model } from '../../ir/index.js';
import { reportName } from '../../layers/weight-store.js';
import { firstSamples, type MethodContext, type RunSource, samplesAfter } from '../../method.js';
import type { RemovalOrder } from '../importance/removal-order.js';
import { reduceBranches } from '../structure/branch-surgery.js';
import { counterparts } from '../structure/counterpart.js';
import { branchForms, type ResidualBranch } from '../structure/residual-branches.js';
import { repairLayers } from './repair-layers.js';

export interface BranchRequest {
  readonly model: Model;
  readonly branches: readonly ResidualBranch[];
  readonly samples: RunSource;
  /** Samples that are run at most; default: the fewest that say anything. */
  readonly count?: number;
}

/** Few samples say enough of one layer, fewer than these nothing. */
const SAMPLES_MIN = 16;
const SAMPLES_MAX = 128;
/** Multiply-accumulates of all runs, some ten of each sample for each form: about a minute of two cores. */
const RUN_MACS = 1e12;
const RUNS_PER_SAMPLE = 10;
/** The layer that stands in, or that makes the other term, and those that read the sum: as the consumers of units are refitted. */
const DEPTH = 2;

/** Samples that the fits of so many forms are made with; undefined where enough of them would take too long. `macs`: of one sample. */
export function samplesForBranches(branches: readonly ResidualBranch[], macs: number): number | undefined {
  const forms = branches.reduce((sum, branch) => sum + branchForms(branch).length, 0);
  const affordable = Math.floor(RUN_MACS / Math.max(1, RUNS_PER_SAMPLE * forms * macs));
  return affordable < SAMPLES_MIN ? undefined : Math.min(SAMPLES_MAX, affordable);
}

/**
 * In the currency of the orders of units (output-noise.ts), on other samples than those that the layers are fitted to. Branches of which the outputs say nothing are
 * missing.
 */
export async function branchOrders(
  { model, branches, samples, count = SAMPLES_MIN }: BranchRequest,
  context: MethodContext,
): Promise<RemovalOrder[]> {
  const used = Math.min(count, Math.floor(samples.sampleCount / 2));
  const [few, others] = [firstSamples(samples, used), samplesAfter(samples, used)];
  const orders: RemovalOrder[] = [];
  for (const [at, branch] of branches.entries()) {
    const costs = [0];
    for (const form of branchForms(branch)) {
      context.signal.throwIfAborted();
      const pruned = cloneModel(model);
      const survivors = reduceBranches(pruned, [{ branch, form }], { twins: counterparts(model, pruned), survivors: new Map() });
      const { error } = await repairLayers({ original: model, pruned, survivors, samples: few, judged: others, depth: DEPTH }, context);
      costs.push(error.before > 0 ? Math.max(costs.at(-1) ?? 0, error.after) : Number.NaN);
    }
    context.progress((at + 1) / branches.length, `residual branch before ${reportName(branch.sum)}`);
    if (costs.every(Number.isFinite)) orders.push(branchOrder(branch, costs));
  }
  return orders;
}

/** `costs`: of the whole branch and of its forms. */
export function branchOrder(branch: ResidualBranch, costs: readonly number[]): RemovalOrder {
  const id = `residual branch before ${reportName(branch.sum)}`;
  const group = { id, kind: 'branches', units: [], producers: branch.nodes, consumers: [branch.sum], parts: [] } as const;
  return { group, branch, steps: branchForms(branch).map(() => []), costs: Float64Array.from(costs) };
}
