/** Proof before use: with units of a group removed, the model answers as the original in which nothing reads them. */
import { FidelityAccumulator } from '../evaluation/fidelity.js';
import type { Model } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import type { RemovalOrder, UnrankedGroup } from './importance/removal-order.js';
import { maskCandidate, pruneCandidate } from './prune-candidate.js';
import type { PruningStudy } from './pruning-study.js';

type Studied = Pick<PruningStudy, 'model' | 'structure' | 'feeds' | 'orders'>;

export interface VerifiedOrders {
  readonly orders: readonly RemovalOrder[];
  readonly refuted: readonly UnrankedGroup[];
}

/** Rounding in another order stays far above it; a slice that went wrong does not come near. */
const SQNR_MIN_DB = 60;
/** Of outputs that are close to zero. */
const ABSOLUTE_ERROR = 1e-6;

/** All groups are tried at once, each alone only when that fails. Groups that are approximate by nature are not tried. */
export async function verifyOrders(study: Studied, context: MethodContext): Promise<VerifiedOrders> {
  const exact = study.orders.filter(({ group, steps }) => group.approximate === undefined && steps.length > 0);
  if (exact.length === 0 || (await isExact({ ...study, orders: exact }, context))) return { orders: study.orders, refuted: [] };
  const refuted: UnrankedGroup[] = [];
  for (const order of exact) {
    context.signal.throwIfAborted();
    if (await isExact({ ...study, orders: [order] }, context)) continue;
    refuted.push({ group: order.group, reason: 'the model without some of its units does not answer as it does with them masked' });
  }
  const wrong = new Set(refuted.map(({ group }) => group));
  return { orders: study.orders.filter(({ group }) => !wrong.has(group)), refuted };
}

/** Half of the steps of each order; the first form of each branch. */
async function isExact(study: Studied, context: MethodContext): Promise<boolean> {
  const steps = study.orders.map((order) => Math.ceil(order.steps.length / 2));
  try {
    return await answersAlike(maskCandidate(study, steps), pruneCandidate(study, steps).model, { study, context });
  } catch {
    // A model that the runtime refuses is no proof.
    context.signal.throwIfAborted();
    return false;
  }
}

async function answersAlike(
  masked: Model,
  pruned: Model,
  { study, context }: { readonly study: Studied; readonly context: MethodContext },
): Promise<boolean> {
  const sums = new FidelityAccumulator();
  const [expected, actual] = [await answers(masked, study, context), await answers(pruned, study, context)];
  sums.add(expected, actual, { rows: 1, sampleCount: 1 });
  const { sqnr_db, max_abs_error, top1_agreement, non_finite } = sums.result('dataset');
  if (non_finite > 0) return false;
  if (max_abs_error === null || sqnr_db === null) return top1_agreement === null || top1_agreement === 1;
  return max_abs_error <= ABSOLUTE_ERROR || sqnr_db >= SQNR_MIN_DB;
}

async function answers(model: Model, { feeds }: Studied, { runtime }: MethodContext) {
  const session = await runtime.open(model, { optimization: 'basic' });
  try {
    return await session.run(feeds);
  } finally {
    await session.close();
  }
}
