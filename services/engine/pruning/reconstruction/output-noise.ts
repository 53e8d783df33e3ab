/** Costs of all groups in one currency: the noise at the outputs of the model of losing units, their consumers refitted. */
import { layerSensitivity } from '../../evaluation/layer-sensitivity.js';
import { openSwitchable, type SwitchableSite, type WeightQuantization } from '../../evaluation/switchable-model.js';
import { float32Values, floatAttribute, type Model } from '../../ir/index.js';
import { constantBias } from '../../layers/bias-shift.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, RunSource } from '../../method.js';
import type { Refit, RefittedWeight } from './greedy-removal.js';

export interface NoiseRequest {
  readonly model: Model;
  /** By group. */
  readonly refits: readonly (readonly Refit[])[];
  readonly samples: RunSource;
}

export interface NoisePoint {
  readonly steps: number;
  /** Error power of the outputs over their power. */
  readonly noise: number;
}

/** Runs in all; models with many groups are measured on fewer samples. */
const RUNS_MAX = 512;
const SAMPLES_MIN = 4;
const SAMPLES_MAX = 64;

/** Of each group alone, by group, at its refits; none where a consumer cannot be switched, or the outputs hold no finite floats. */
export async function outputNoise({ model, refits, samples }: NoiseRequest, context: MethodContext): Promise<NoisePoint[][]> {
  const store = new WeightStore(model);
  const sites = refits.map(
    (own, at): SwitchableSite => ({ id: String(at), alternatives: own.map((refit) => ({ weights: switched(refit, store) })) }),
  );
  const measurable = sites.filter(({ alternatives }) => alternatives.length > 0);
  const points: NoisePoint[][] = refits.map(() => []);
  if (measurable.length === 0) return points;
  const choices = measurable.reduce((sum, { alternatives }) => sum + alternatives.length, 0);
  const limit = Math.max(SAMPLES_MIN, Math.min(SAMPLES_MAX, Math.floor(RUNS_MAX / choices)));
  const switchable = await openSwitchable(model, measurable, context);
  try {
    const found = await layerSensitivity(switchable, measurable, { samples: { source: samples, limit }, context });
    for (const { site, alternative, noise } of found) {
      const steps = refits[Number(site)]?.[alternative]?.steps;
      if (steps !== undefined && Number.isFinite(noise)) points[Number(site)]?.push({ steps, noise });
    }
    return points;
  } finally {
    await switchable.close();
  }
}

function switched({ weights }: Refit, store: WeightStore): WeightQuantization[] {
  return weights.flatMap((refitted): WeightQuantization[] => {
    const { weight, values } = refitted;
    const bias = shiftedBias(refitted, store);
    return [{ value: weight.constant.value.name, quantized: values }, ...(bias ? [bias] : [])];
  });
}

/** A layer without a bias keeps the error of its means. */
function shiftedBias({ weight: { node }, shift }: RefittedWeight, store: WeightStore): WeightQuantization | null {
  const bias = constantBias(store, node, shift.length);
  if (!bias) return null;
  const old = float32Values(bias.constant.tensor);
  if (old.length !== shift.length) return null;
  const factor = floatAttribute(node, 'alpha', 1) / bias.factor;
  return { value: bias.constant.value.name, quantized: old.map((value, channel) => value + factor * (shift[channel] ?? 0)) };
}

/** Piecewise linear in the costs that the criterion gave, through the points that were measured; never falling. */
export function costsThrough(costs: Float64Array, points: readonly NoisePoint[]): Float64Array {
  const known = [{ cost: 0, noise: 0 }];
  for (const { steps, noise } of [...points].sort((a, b) => a.steps - b.steps)) {
    const { cost: before, noise: highest } = known.at(-1) ?? { cost: 0, noise: 0 };
    const cost = costs[steps] ?? 0;
    if (cost > before) known.push({ cost, noise: Math.max(highest, noise) });
  }
  if (known.length < 2) return costs;
  return costs.map((cost) => {
    const above = known.findIndex((point) => point.cost >= cost);
    const end = above < 0 ? known.length - 1 : Math.max(1, above);
    const [low, high] = [known[end - 1] ?? { cost: 0, noise: 0 }, known[end] ?? { cost: 1, noise: 1 }];
    return low.noise + ((cost - low.cost) / (high.cost - low.cost)) * (high.noise - low.noise);
  });
}
