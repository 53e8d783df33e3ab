/** Returns weights to dense until the loss that the recipe allows is kept. */
import { boundUnits } from '../evaluation/bounded-units.js';
import { layerSensitivity } from '../evaluation/layer-sensitivity.js';
import { lossBound } from '../evaluation/loss-bound.js';
import { openSwitchable } from '../evaluation/switchable-model.js';
import { cloneModel, float32Tensor, float32Values, type Model, type Node } from '../ir/index.js';
import { shiftBias } from '../layers/bias-shift.js';
import { WeightStore } from '../layers/weight-store.js';
import type { MethodContext } from '../method.js';
import { twinsIn } from './input-sums.js';
import type { PlannedWeight } from './plan.js';
import { correctAgain, type PrunedWeight } from './prune-weights.js';

export type PrunedWeights = ReadonlyMap<PlannedWeight, PrunedWeight>;

export interface BoundedWeights {
  readonly pruned: PrunedWeights;
  /** Weights that returned to dense, with the reason for the report. */
  readonly reverted: ReadonlyMap<PlannedWeight, string>;
  readonly warnings: readonly string[];
}

/** Samples of the ranking of layers. */
const RANKED_SAMPLES = 16;

export interface BoundRequest {
  readonly model: Model;
  readonly pruned: PrunedWeights;
  readonly leastSqnr: number | undefined;
  readonly correctBiases: boolean;
}

/** The weights less those that must return. Without a bound, or when it holds at once, all of them. */
export async function boundSparsity(
  { model, pruned, leastSqnr, correctBiases }: BoundRequest,
  context: MethodContext,
): Promise<BoundedWeights> {
  const bound = lossBound(model, leastSqnr, context);
  if (!bound) return { pruned, reverted: new Map(), warnings: [] };
  const idOf = ({ position }: PlannedWeight): string => String(position);
  const only = (ids: readonly string[]): PrunedWeights => new Map([...pruned].filter(([weight]) => ids.includes(idOf(weight))));
  const quiet = { ...context, progress: () => undefined };
  const { calibration: samples } = context;
  const without = async (reverted: ReadonlySet<string>): Promise<PrunedWeights> => {
    if (reverted.size === 0) return pruned;
    const rest = new Map([...pruned].filter(([weight]) => !reverted.has(idOf(weight))));
    return correctAgain({ model, correctBiases, ...(samples ? { samples } : {}), context: quiet }, rest);
  };
  const { reverted, warnings } = await boundUnits(
    {
      ids: [...pruned.keys()].map(idOf),
      bound,
      form: 'dense',
      build: async (ids) => withPruned(model, await without(ids)),
      rank: async (ids) => (await rankedByNoise(model, only(ids), context)).map(idOf),
    },
    context,
  );
  return {
    pruned: await without(new Set(reverted.keys())),
    reverted: new Map([...pruned.keys()].flatMap((weight) => reasonFor(weight, reverted.get(idOf(weight))))),
    warnings,
  };
}

function reasonFor(weight: PlannedWeight, reason: string | undefined): [PlannedWeight, string][] {
  return reason === undefined ? [] : [[weight, reason]];
}

/** A copy of the model with the pruned weights and corrected biases. */
export function withPruned(model: Model, pruned: PrunedWeights): Model {
  const copy = cloneModel(model);
  const twins = twinsIn(copy, model);
  writePruned(new WeightStore(copy), pruned, (node) => twins.get(node));
  return copy;
}

/** Writes the pruned weights into the model that they were found in, or a copy of it, where `nodeOf` tells the twins of its nodes. */
export function writePruned(store: WeightStore, pruned: PrunedWeights, nodeOf: (node: Node) => Node | undefined): void {
  const constants = store.all();
  for (const [{ position }, { values }] of pruned) {
    const constant = constants[position];
    if (constant) store.replace(constant, float32Tensor(constant.tensor.dims, values));
  }
  for (const [{ readers }, { biasShift }] of pruned) {
    const node = nodeOf(readers[0].node);
    if (node && biasShift) shiftBias(store, node, biasShift);
  }
}

/** The weight that alone brings most noise to the outputs first; where that cannot be measured, the one that lost most of itself. */
async function rankedByNoise(model: Model, pruned: PrunedWeights, context: MethodContext): Promise<PlannedWeight[]> {
  const { calibration } = context;
  const byName = new Map([...pruned.keys()].map((weight) => [weight.constant.value.name, weight]));
  if (!calibration || byName.size < pruned.size) {
    const lost = [...pruned].map(([weight, { values }]) => ({ weight, share: lostShare(float32Values(weight.constant.tensor), values) }));
    return lost.sort((a, b) => b.share - a.share).map(({ weight }) => weight);
  }
  const sites = [...pruned].map(([{ constant }, { values }]) => {
    const { name } = constant.value;
    return { id: name, alternatives: [{ weights: [{ value: name, quantized: values }] }] };
  });
  const switchable = await openSwitchable(model, sites, context);
  try {
    const quiet = { signal: context.signal, progress: () => undefined };
    const samples = { source: calibration, limit: RANKED_SAMPLES };
    const ranking = await layerSensitivity(switchable, sites, { samples, context: quiet });
    return ranking.flatMap(({ site }) => byName.get(site) ?? []);
  } finally {
    await switchable.close();
  }
}

/** sum (w - w')^2 / sum w^2 */
function lostShare(before: Float32Array, after: Float32Array): number {
  let [lost, whole] = [0, 0];
  for (const [at, value] of before.entries()) {
    lost += (value - (after[at] ?? 0)) ** 2;
    whole += value ** 2;
  }
  return whole === 0 ? 0 : lost / whole;
}
