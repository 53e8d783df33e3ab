/** What every layer of a model can be factorised into: candidates by layer, from weights and, when samples were given, inputs. */
import type { Model } from '../ir/index.js';
import { portions } from '../layers/portions.js';
import type { MethodContext } from '../method.js';
import { convolutionWindow, type GramMatrix, gramMatrices } from '../normal-equations/gram-matrices.js';
import { type Candidate, denseCost, layerCandidates, type RankChoice } from './candidates.js';
import type { LayerCost } from './factors.js';
import type { MatrixLayer } from './matrix-layers.js';
import type { ObservedPositions } from './observed-positions.js';
import type { FormName } from './options.js';

export interface LayerOffer {
  readonly layer: MatrixLayer;
  readonly dense: LayerCost;
  readonly candidates: readonly Candidate[];
}

export interface OfferSettings {
  readonly forms: readonly FormName[];
  readonly multiple: number;
  readonly activationAware: boolean;
  readonly choice: RankChoice;
}

/** Elements of the sums over inputs that are held at once: 128 MB. */
const SUMS_MAX = 2 ** 24;
/** A layer with more inputs per output is factorised by its weights alone: the sums over its inputs would not fit. */
const DEPTH_MAX = 4096;
/** The eigenvectors of the smaller side cost its cube: minutes above this. */
export const SIDE_MAX = 2048;

/** Offers by name of the layer, in order; layers that are too large for an eigendecomposition have none. */
export async function layerOffers(
  model: Model,
  {
    layers,
    positions,
    settings,
  }: { readonly layers: readonly MatrixLayer[]; readonly positions: ObservedPositions; readonly settings: OfferSettings },
  context: MethodContext,
): Promise<Map<string, LayerOffer>> {
  const offers = new Map<string, LayerOffer>();
  for (const portion of portions(layers.filter(isWithinReach), SUMS_MAX, sumsOf)) {
    const sums = await inputSums(model, portion, context);
    for (const layer of portion) {
      context.signal.throwIfAborted();
      const at = positions.of(layer);
      const candidates = layerCandidates({ ...settings, layer, positions: at, inputs: sums.get(layer.name) ?? null });
      offers.set(layer.name, { layer, dense: denseCost(layer, at), candidates });
      context.progress(offers.size / layers.length, `factors of ${offers.size} of ${layers.length} layers`);
    }
  }
  return offers;
}

export function isWithinReach({ channels, depth }: MatrixLayer): boolean {
  return Math.min(channels, depth) <= SIDE_MAX;
}

function sumsOf({ depth }: MatrixLayer): number {
  return depth <= DEPTH_MAX ? depth ** 2 : 0;
}

async function inputSums(model: Model, layers: readonly MatrixLayer[], context: MethodContext): Promise<Map<string, GramMatrix>> {
  const { calibration } = context;
  if (!calibration) return new Map();
  const summed = layers
    .filter(({ depth }) => depth <= DEPTH_MAX)
    .map(({ name, source, depth }) => ({
      key: name,
      activation: source.activation.name,
      depth,
      ...(source.kind === 'conv' ? { window: convolutionWindow(source.node, source.weight.tensor.dims) } : {}),
    }));
  return gramMatrices({ model, layers: summed, samples: calibration, context });
}
