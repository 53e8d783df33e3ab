/** How much noise at the outputs of the model a lost share of a layer's energy brings: what makes losses of different layers comparable. */
import { layerSensitivity, type SiteSensitivity } from '../evaluation/layer-sensitivity.js';
import { openSwitchable, type SwitchableSite } from '../evaluation/switchable-model.js';
import type { Model } from '../ir/index.js';
import { fromRows } from '../layers/channel-layout.js';
import type { MethodContext, RunSource } from '../method.js';
import type { Candidate } from './candidates.js';
import { composed } from './factors.js';
import type { LayerOffer } from './layer-offers.js';
import { type MatrixLayer, weightLayout } from './matrix-layers.js';

/** Samples that are run for each layer and choice. */
const SAMPLES = 16;
/** Shares of the energy at which layers are tried. */
const TYPICAL_LOSSES = [0.01, 0.05, 0.25] as const;

/** A layer with its factors multiplied together, in one or several ways, for a sweep over layers. */
export function factorSite(layer: MatrixLayer, choices: readonly Candidate[]): SwitchableSite {
  const value = layer.source.weight.value.name;
  const weightOf = (choice: Candidate) => (): Float32Array => fromRows(composed(choice.factors()), weightLayout(layer), Float32Array);
  return { id: layer.name, alternatives: choices.map((choice) => ({ weights: [{ value, quantized: weightOf(choice) }] })) };
}

/** Noise of the factors `sites`, each alone, at the worst output, relative to its signal; the most sensitive first. */
export async function noiseAtOutputs(
  model: Model,
  sites: readonly SwitchableSite[],
  { samples, context }: { readonly samples: RunSource; readonly context: MethodContext },
): Promise<readonly SiteSensitivity[]> {
  const switchable = await openSwitchable(model, sites, context);
  try {
    return await layerSensitivity(switchable, sites, { samples: { source: samples, limit: SAMPLES }, context });
  } finally {
    await switchable.close();
  }
}

/** Noise at the outputs by layer and lost share. */
export type OutputNoise = (name: string, lost: number) => number;

/**
 * Tries a few candidates of each layer alone and interpolates, noise against loss, both in orders of magnitude: a layer that is
 * wide of its outputs loses more than another before they show it. Without samples every loss counts as it is.
 */
export async function outputNoise(model: Model, offers: ReadonlyMap<string, LayerOffer>, context: MethodContext): Promise<OutputNoise> {
  const { calibration } = context;
  if (!calibration) return (_, lost) => lost;
  const tried = new Map([...offers].map(([name, { candidates }]) => [name, spread(candidates)] as const));
  const sites = [...tried].flatMap(([name, candidates]) => {
    const layer = offers.get(name)?.layer;
    return layer && candidates.length > 0 ? [factorSite(layer, candidates)] : [];
  });
  const curves = new Map<string, { lost: number; noise: number }[]>();
  for (const { site, alternative, noise } of await noiseAtOutputs(model, sites, { samples: calibration, context })) {
    const lost = tried.get(site)?.[alternative]?.lost;
    if (lost !== undefined) curves.set(site, [...(curves.get(site) ?? []), { lost, noise: Math.max(noise, Number.MIN_VALUE) }]);
  }
  return (name, lost) =>
    interpolated(
      (curves.get(name) ?? []).sort((a, b) => a.lost - b.lost),
      lost,
    );
}

/** Of each typical loss the candidate that is nearest to it, in orders of magnitude. */
function spread(candidates: readonly Candidate[]): Candidate[] {
  const telling = candidates.filter(({ lost }) => lost > 0);
  const nearest = TYPICAL_LOSSES.flatMap((typical) => {
    const distance = ({ lost }: Candidate): number => Math.abs(Math.log(lost / typical));
    return [...telling].sort((a, b) => distance(a) - distance(b)).slice(0, 1);
  });
  return [...new Set(nearest)];
}

/** Through the points by straight lines of log noise over log loss; beyond them in proportion to the loss. */
function interpolated(points: readonly { readonly lost: number; readonly noise: number }[], lost: number): number {
  const above = points.find((point) => point.lost >= lost);
  const below = points.findLast((point) => point.lost <= lost);
  if (!above || !below || above.lost === below.lost) {
    const end = above ?? below;
    return end ? (end.noise * lost) / end.lost : lost;
  }
  const part = Math.log(lost / below.lost) / Math.log(above.lost / below.lost);
  return below.noise * (above.noise / below.noise) ** part;
}
