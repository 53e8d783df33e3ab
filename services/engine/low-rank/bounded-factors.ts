/** Returns layers to their full rank until the loss that the recipe allows is kept. */
import { type BoundedUnits, boundUnits } from '../evaluation/bounded-units.js';
import { lossBound } from '../evaluation/loss-bound.js';
import { cloneModel, type Model } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import type { Candidate } from './candidates.js';
import type { LayerOffer } from './layer-offers.js';
import { noiseAtOutputs } from './output-sensitivity.js';
import { writeFactors } from './write-factors.js';

export interface BoundedFactors extends BoundedUnits {
  readonly chosen: ReadonlyMap<string, Candidate>;
}

export interface BoundRequest {
  readonly model: Model;
  readonly offers: ReadonlyMap<string, LayerOffer>;
  readonly chosen: ReadonlyMap<string, Candidate>;
  readonly leastSqnr: number | undefined;
}

/** `chosen` less the layers that must return. Without a bound, or when it holds at once, all of them. */
export async function boundLoss(request: BoundRequest, context: MethodContext): Promise<BoundedFactors> {
  const { model, chosen } = request;
  const bound = lossBound(model, request.leastSqnr, context);
  if (!bound || chosen.size === 0) return { chosen, reverted: new Map(), warnings: [] };
  const without = (reverted: ReadonlySet<string>) => new Map([...chosen].filter(([name]) => !reverted.has(name)));
  const bounded = await boundUnits(
    {
      ids: [...chosen.keys()],
      bound,
      form: 'full rank',
      async build(reverted) {
        const copy = cloneModel(model);
        writeFactors(copy, without(reverted));
        return copy;
      },
      rank: (names) => rankedByNoise(request, names, context),
    },
    context,
  );
  return { chosen: without(new Set(bounded.reverted.keys())), ...bounded };
}

/** The layer whose factors alone bring most noise to the outputs first; without samples, the one that loses most energy. */
async function rankedByNoise({ model, offers, chosen }: BoundRequest, names: readonly string[], context: MethodContext): Promise<string[]> {
  const { calibration } = context;
  if (!calibration) return [...names].sort((a, b) => (chosen.get(b)?.lost ?? 0) - (chosen.get(a)?.lost ?? 0));
  const layers = names.flatMap((name) => {
    const [layer, choice] = [offers.get(name)?.layer, chosen.get(name)];
    return layer && choice ? [{ layer, choices: [choice] }] : [];
  });
  return (await noiseAtOutputs(model, layers, { samples: calibration, context })).map(({ site }) => site);
}
