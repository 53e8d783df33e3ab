/** How much noise at the outputs of the model a lost share of a layer's energy brings: what makes losses of different layers comparable. */
import { layerSensitivity, type SiteSensitivity } from '../evaluation/layer-sensitivity.js';
import { openSwitchable, type SwitchableSite } from '../evaluation/switchable-model.js';
import type { Model } from '../ir/index.js';
import { fromRows } from '../layers/channel-layout.js';
import { portions } from '../layers/portions.js';
import type { MethodContext, RunSource } from '../method.js';
import type { Candidate } from './candidates.js';
import { composed } from './factors.js';
import type { LayerOffer } from './layer-offers.js';
import { type MatrixLayer, weightLayout } from './matrix-layers.js';

/** Samples that are run for each layer and choice. */
const SAMPLES = 16;
const PORTION_BYTES = 32 * 2 ** 20;
/** Shares of the energy at which layers are tried. */
const TYPICAL_LOSSES = [0.01, 0.05, 0.25] as const;

/** A layer, and the factors that are to be tried in its place. */
export interface TriedLayer {
  readonly layer: MatrixLayer;
  readonly choices: readonly Candidate[];
}

/** Noise of each choice, alone, at the worst output, relative to its signal; the most sensitive first. */
export async function noiseAtOutputs(
  model: Model,
  layers: readonly TriedLayer[],
  { samples, context }: { readonly samples: RunSource; readonly context: MethodContext },
): Promise<readonly SiteSensitivity[]> {
  const found: SiteSensitivity[] = [];
  for (const portion of portions(layers, PORTION_BYTES, bytesOf)) {
    const sites = portion.map(siteOf);
    const switchable = await openSwitchable(model, sites, context);
    try {
      found.push(...(await layerSensitivity(switchable, sites, { samples: { source: samples, limit: SAMPLES }, context })));
    } finally {
      await switchable.close();
    }
  }
  return found.sort((a, b) => b.noise - a.noise);
}

/** In one session: weights that are switched are fed in each run, and what factors amount to is kept for all runs. */
function bytesOf({ layer, choices }: TriedLayer): number {
  return 4 * layer.channels * layer.depth * (choices.length + 1);
}

function siteOf({ layer, choices }: TriedLayer): SwitchableSite {
  const value = layer.source.weight.value.name;
  return {
    id: layer.name,
    alternatives: choices.map((choice) => ({ weights: [{ value, quantized: once(() => weightOf(layer, choice)) }] })),
  };
}

function weightOf(layer: MatrixLayer, choice: Candidate): Float32Array {
  return fromRows(composed(choice.factors()), weightLayout(layer), Float32Array);
}

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make();
    return made;
  };
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
  const layers = [...tried].flatMap(([name, choices]) => {
    const layer = offers.get(name)?.layer;
    return layer && choices.length > 0 ? [{ layer, choices }] : [];
  });
  const curves = new Map<string, { lost: number; noise: number }[]>();
  for (const { site, alternative, noise } of await noiseAtOutputs(model, layers, { samples: calibration, context })) {
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
