/** Returns layers to float until the loss that the recipe allows is kept: the metric of the gate, or the noise on the calibration samples. */

import { boundUnits, type BoundedUnits as ReportedUnits } from '../../evaluation/bounded-units.js';
import { layerSensitivity } from '../../evaluation/layer-sensitivity.js';
import { lossBound } from '../../evaluation/loss-bound.js';
import { openSwitchable } from '../../evaluation/switchable-model.js';
import type { Model } from '../../ir/index.js';
import type { MethodContext } from '../../method.js';
import type { IntegerUnit } from './integer-units.js';
import { layerSites } from './layer-sites.js';
import type { StaticInt8Options } from './options.js';
import { candidate, type QuantizedParts } from './static-candidate.js';

export interface LossRequest {
  /** The float model that was calibrated. */
  readonly model: Model;
  readonly units: readonly IntegerUnit[];
  readonly names: ReadonlySet<string>;
  readonly options: StaticInt8Options;
  readonly parts: QuantizedParts;
}

export interface BoundedUnits extends ReportedUnits {
  readonly names: ReadonlySet<string>;
}

/** Samples of the ranking of layers. */
const RANKED_SAMPLES = 16;

/** `names` less the layers that must return to float. Without a bound, or when it holds at once, all of them. */
export async function boundLoss(request: LossRequest, context: MethodContext): Promise<BoundedUnits> {
  const bound = lossBound(request.model, request.options.min_sqnr_db, context);
  const layers = request.units.filter(({ name, layer }) => layer !== null && request.names.has(name));
  if (!bound || layers.length === 0) return { names: request.names, reverted: new Map(), warnings: [] };
  const without = (reverted: ReadonlySet<string>): ReadonlySet<string> => new Set([...request.names].filter((name) => !reverted.has(name)));
  const bounded = await boundUnits(
    {
      ids: layers.map(({ name }) => name),
      bound,
      form: 'float32',
      build: async (reverted) => candidate(request.model, without(reverted), request),
      rank: (units) => rankedByNoise(request, units, context),
    },
    context,
  );
  return { names: without(new Set(bounded.reverted.keys())), ...bounded };
}

/** The layers `wanted`, the one that alone brings most noise to the outputs first. */
async function rankedByNoise({ model, units, parts }: LossRequest, wanted: readonly string[], context: MethodContext): Promise<string[]> {
  const { calibration } = context;
  if (!calibration) return [...wanted];
  const names = new Set(wanted);
  const sites = layerSites(units, parts).filter(({ id }) => names.has(id));
  const switchable = await openSwitchable(model, sites, context);
  try {
    const samples = { source: calibration, limit: RANKED_SAMPLES };
    return (await layerSensitivity(switchable, sites, { samples, context })).map(({ site }) => site);
  } finally {
    await switchable.close();
  }
}
