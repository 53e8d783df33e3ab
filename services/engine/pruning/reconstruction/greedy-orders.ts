/** The default criterion: what remains of the consumers' error after refitting, as noise at the outputs of the model. */
import type { Model } from '../../ir/index.js';
import { portions } from '../../layers/portions.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, RunSource } from '../../method.js';
import { type GramMatrix, gramMatrices } from '../../normal-equations/gram-matrices.js';
import { groupsOf, rowSignature } from '../../normal-equations/layer-rows.js';
import type { GroupOrders, RemovalOrder, UnrankedGroup } from '../importance/removal-order.js';
import type { PruningGroup } from '../structure/pruning-structure.js';
import { type ConsumerPart, consumerParts } from './consumer-parts.js';
import { type GreedyRemoval, greedyRemoval, type SeenPart } from './greedy-removal.js';
import { costsThrough, outputNoise } from './output-noise.js';

export interface GreedyRequest {
  readonly model: Model;
  readonly groups: readonly PruningGroup[];
  readonly samples: RunSource;
}

/** Elements of the Gram matrices that are held at once; the groups are taken in turns. */
const GRAM_ELEMENTS_MAX = 2 ** 24;
/** Shares of the steps at which the noise at the outputs is measured. */
const SHARES = [0.25, 0.5, 0.75];
const SHARES_OF_MANY = [0.5];
const MANY_GROUPS = 16;

/** Groups that no layer with constant weights reads are unranked. Throws EngineError `runtime_failed` when the model does not run. */
export async function greedyOrders({ model, groups, samples }: GreedyRequest, context: MethodContext): Promise<GroupOrders> {
  const store = new WeightStore(model);
  const read = groups.map((group) => ({ group, parts: consumerParts(group, store) }));
  const shares = groups.length > MANY_GROUPS ? SHARES_OF_MANY : SHARES;
  const found: { group: PruningGroup; removal: GreedyRemoval }[] = [];
  const endless = new Set<PruningGroup>();
  for (const turn of portions(read, GRAM_ELEMENTS_MAX, gramElements)) {
    const layers = turn.flatMap(({ parts }) => parts.map(({ weight: { form } }) => ({ ...form.rows, key: rowSignature(form.rows) })));
    const sums = await gramMatrices({ model, layers, samples, context });
    for (const { group, parts } of turn) {
      context.signal.throwIfAborted();
      const seen = parts.flatMap((part) => seenPart(part, sums));
      const last = Math.min(...group.parts.map((part) => part.length)) - 1;
      const refitAt = shares.map((share) => Math.max(1, Math.round(share * last)));
      if (seen.some(({ sums, group: own }) => !hasOnlyNumbers(sums, own))) endless.add(group);
      else if (seen.length > 0) found.push({ group, removal: greedyRemoval(group, seen, refitAt) });
      context.progress(found.length / groups.length, `order of ${group.id}`);
    }
  }
  const noise = await outputNoise({ model, refits: found.map(({ removal }) => removal.refits), samples }, context);
  const orders = found.map(({ group, removal: { steps, costs } }, at): RemovalOrder => {
    return { group, steps, costs: costsThrough(costs, noise[at] ?? []) };
  });
  const ranked = new Set(orders.map(({ group }) => group));
  const unranked = groups
    .filter((group) => !ranked.has(group))
    .map((group): UnrankedGroup => ({ group, reason: endless.has(group) ? ENDLESS : UNREAD }));
  return { orders, unranked };
}

const UNREAD = 'no layer with constant float32 weights reads its units, so nothing tells what they are worth to it';
const ENDLESS = 'what the layers that read its units see on the samples is not finite';

/** A value that is not finite shows on the diagonal. */
function hasOnlyNumbers({ gram, depth }: GramMatrix, group: number): boolean {
  for (let k = 0; k < depth; k += 1) if (!Number.isFinite(gram[(group * depth + k) * depth + k])) return false;
  return true;
}

function seenPart(part: ConsumerPart, sums: ReadonlyMap<string, GramMatrix>): SeenPart[] {
  const own = sums.get(rowSignature(part.weight.form.rows));
  return own && own.rows > 0 ? [{ ...part, sums: own }] : [];
}

interface ReadGroup {
  readonly group: PruningGroup;
  readonly parts: readonly ConsumerPart[];
}

/** Of the Gram matrices of a group; layers with the same rows share one. */
function gramElements({ parts }: ReadGroup): number {
  const rows = new Map(parts.map(({ weight: { form } }) => [rowSignature(form.rows), form.rows] as const));
  return [...rows.values()].reduce((sum, layer) => sum + groupsOf(layer) * layer.depth ** 2, 0);
}
