/** Layers that stay in float and keep their weights in 8 bits: the mean of their results returns to where it was. */
import type { Model } from '../../ir/index.js';
import { shiftBias } from '../../layers/bias-shift.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { IntegerUnit } from './integer-units.js';
import { type InputStatistics, layerBias, quantizeLayer } from './layer-codes.js';

export interface StoredLayers {
  /** Units of the float model, with the weights of before. */
  readonly units: readonly IntegerUnit[];
  /** Names of the nodes whose weights were stored. */
  readonly stored: ReadonlySet<string>;
  /** Of activations, by name. */
  readonly statistics: ReadonlyMap<string, { readonly channels?: InputStatistics }>;
}

/** As 8-bit storage rounds: per output channel, no pairs to mind, as the products are computed in float. */
const storage = { perChannel: true, pairSafe: false, reduceRange: false, powerOfTwo: false };

/** b_c += sum_k (w_ck - s_c q_ck) E[x_k], as for layers on codes (layer-codes.ts). Edits the model in place. */
export function correctStoredBiases(model: Model, { units, stored, statistics }: StoredLayers): void {
  const store = new WeightStore(model);
  for (const { name, node, layer } of units) {
    const known = layer && statistics.get(layer.activation.name)?.channels;
    if (!layer || !known || !stored.has(name)) continue;
    const before = layerBias(layer);
    const { bias } = quantizeLayer(layer, { scale: 1 }, { weights: storage, statistics: known, correctBias: true });
    if (!bias) continue;
    shiftBias(
      store,
      node,
      Float64Array.from(bias.real, (value, channel) => value - (before?.[channel] ?? 0)),
    );
  }
}
