/** Costs of widths in one currency: the noise that removing units from one group alone brings to the outputs of the model. */
import { layerSensitivity } from '../../evaluation/layer-sensitivity.js';
import { openSwitchable, type SiteAlternative, type SwitchableSite } from '../../evaluation/switchable-model.js';
import { cloneModel, float32Values, type Model } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { type RemovalOrder, removedUnits } from '../importance/removal-order.js';
import { maskUnits } from '../structure/mask-units.js';
import type { PruningUnit } from '../structure/pruning-structure.js';
import type { AnalyzedStructure } from '../structure/structure-layout.js';

export interface ScanRequest {
  readonly model: Model;
  readonly structure: AnalyzedStructure;
  readonly orders: readonly RemovalOrder[];
  /** Allowed steps by order. */
  readonly ladders: readonly (readonly number[])[];
  readonly samples: RunSource;
}

/** Shares of the ladder at which each group is measured; between them the criterion tells. */
const SHARES = [0.25, 0.5, 1] as const;
const SAMPLES = 32;

/**
 * The orders with costs that are noise at the outputs: of each group alone, with nothing repaired, at a few widths (methods.md 3.12,
 * layer budget), and between those in proportion to the costs of the criterion. Groups that cannot be masked by weights alone keep
 * their costs.
 */
export async function scanSensitivity(request: ScanRequest, context: MethodContext): Promise<RemovalOrder[]> {
  const probes = request.orders.map((_, at) => probesOf(request, at));
  const sites: SwitchableSite[] = probes.flatMap(({ alternatives }, at) =>
    alternatives.length > 0 && alternatives.every(({ weights = [] }) => weights.length > 0) ? [{ id: String(at), alternatives }] : [],
  );
  if (sites.length === 0) return [...request.orders];
  const switchable = await openSwitchable(request.model, sites, context);
  try {
    const samples = { source: request.samples, limit: SAMPLES };
    const noises = await layerSensitivity(switchable, sites, { samples, context });
    return request.orders.map((order, at) => {
      const own = noises.filter(({ site }) => site === String(at));
      const points = own.map(({ alternative, noise }) => ({ step: probes[at]?.steps[alternative] ?? 0, noise }));
      return points.length > 0 ? { ...order, costs: rescaled(order.costs, points) } : order;
    });
  } finally {
    await switchable.close();
  }
}

interface Probes {
  readonly steps: readonly number[];
  readonly alternatives: readonly SiteAlternative[];
}

function probesOf({ model, structure, orders, ladders }: ScanRequest, at: number): Probes {
  const order = orders[at];
  const ladder = ladders[at] ?? [];
  const steps = [...new Set(SHARES.map((share) => ladder[Math.round(share * (ladder.length - 1))] ?? 0))].filter((step) => step > 0);
  if (!order) return { steps: [], alternatives: [] };
  const unitsOf = (step: number): PruningUnit[] => removedUnits(order, step).flatMap((unit) => order.group.units[unit] ?? []);
  return { steps, alternatives: steps.map((step) => masked(model, structure, unitsOf(step))) };
}

/** The weights that differ when nothing reads the units. */
function masked(model: Model, structure: AnalyzedStructure, units: readonly PruningUnit[]): SiteAlternative {
  const copy = cloneModel(model);
  maskUnits(copy, structure, units);
  const before = new Map([...model.graph.initializers].map(([{ name }, tensor]) => [name, tensor] as const));
  const weights = [...copy.graph.initializers].flatMap(([{ name }, tensor]) => {
    const original = before.get(name);
    if (!original || original === tensor || tensor.dataType !== 'float32') return [];
    return [{ value: name, quantized: () => float32Values(tensor) }];
  });
  return { weights };
}

/** Piecewise linear in the costs of the criterion, through the points that were measured, and never falling. */
export function rescaled(costs: Float64Array, points: readonly { readonly step: number; readonly noise: number }[]): Float64Array {
  const ascending = [{ step: 0, noise: 0 }, ...points].sort((a, b) => a.step - b.step);
  let highest = 0;
  const known = ascending.map(({ step, noise }) => {
    highest = Math.max(highest, noise);
    return { step, noise: highest };
  });
  return costs.map((cost, step) => {
    const above = known.findIndex((point) => point.step >= step);
    const high = known[above < 0 ? known.length - 1 : above] ?? { step, noise: 0 };
    const low = known[above < 0 ? Math.max(0, known.length - 2) : Math.max(0, above - 1)] ?? high;
    const [from, to] = [costs[low.step] ?? 0, costs[high.step] ?? 0];
    const share = to > from ? (cost - from) / (to - from) : high.step > low.step ? (step - low.step) / (high.step - low.step) : 0;
    return Math.max(low.noise, low.noise + share * (high.noise - low.noise));
  });
}
