/** Chains of layers that hand rows to each other on the chip. */
import type { LayerSizes } from './layer-sizes.js';
import type { FeatureMap, NetworkLayer, NetworkLayers } from './network-layers.js';
import type { AcceleratorProfile } from './profile.js';
import { refetchedBytes } from './refetch.js';

export interface FusedLayers {
  /** Maps inside a group: they never leave the chip. */
  readonly maps: ReadonlySet<FeatureMap>;
  /** Layers of groups of two and more: their weights stay in the buffer, nothing is read again. */
  readonly layers: ReadonlySet<NetworkLayer>;
}

/**
 * A group of consecutive layers of a chain fits when the weights of all lie in the weight buffer and, of the input of each, as many
 * rows as its window spans (one more where it moves) lie in the map buffer, with one row of the output. Of all divisions of a chain
 * into fitting groups and single layers the one with the fewest bytes is taken:
 * least(j) = min over i < j of least(i) + bytes(i .. j-1).
 */
export function fusedGroups(network: NetworkLayers, profile: AcceleratorProfile, sizes: LayerSizes): FusedLayers {
  const maps = new Set<FeatureMap>();
  const layers = new Set<NetworkLayer>();
  for (const chain of chains(network)) {
    for (const group of bestDivision(chain, profile, sizes)) {
      if (group.length < 2) continue;
      for (const [place, layer] of group.entries()) {
        layers.add(layer);
        if (place > 0 && layer.inputs[0]) maps.add(layer.inputs[0]);
      }
    }
  }
  return { maps, layers };
}

/** Layers that follow each other without anybody else reading what passes between them. */
function chains({ layers }: NetworkLayers): readonly (readonly NetworkLayer[])[] {
  const readers = new Map<FeatureMap, NetworkLayer[]>();
  for (const layer of layers) for (const map of layer.inputs) readers.set(map, [...(readers.get(map) ?? []), layer]);
  const found: NetworkLayer[][] = [];
  const chainOf = new Map<FeatureMap, NetworkLayer[]>();
  for (const layer of layers) {
    const [first] = layer.inputs;
    const chain = first && chainOf.get(first);
    if (chain) chain.push(layer);
    else found.push([layer]);
    const [made] = layer.outputs;
    const isPassed = made && layer.outputs.length === 1 && !made.isInterface && readers.get(made)?.length === 1;
    if (isPassed) chainOf.set(made, chain ?? (found.at(-1) as NetworkLayer[]));
  }
  return found;
}

function bestDivision(
  chain: readonly NetworkLayer[],
  profile: AcceleratorProfile,
  sizes: LayerSizes,
): readonly (readonly NetworkLayer[])[] {
  const least = [{ bytes: 0, from: 0 }];
  for (let end = 1; end <= chain.length; end++) {
    let best = { bytes: Number.POSITIVE_INFINITY, from: end - 1 };
    for (let from = end - 1; from >= 0; from--) {
      const group = chain.slice(from, end);
      if (group.length > 1 && !fits(group, profile, sizes)) break;
      const bytes = (least[from]?.bytes ?? 0) + movedBytes(group, profile, sizes);
      if (bytes < best.bytes) best = { bytes, from };
    }
    least.push(best);
  }
  const groups: NetworkLayer[][] = [];
  for (let end = chain.length; end > 0; end = least[end]?.from ?? 0) groups.unshift(chain.slice(least[end]?.from ?? 0, end));
  return groups;
}

function fits(group: readonly NetworkLayer[], { buffers }: AcceleratorProfile, sizes: LayerSizes): boolean {
  const weights = group.reduce((sum, layer) => sum + sizes.weights(layer), 0);
  const rows = group.reduce((sum, layer) => sum + windowBytes(layer, sizes), 0);
  const result = group.at(-1)?.outputs.reduce((sum, map) => sum + sizes.row(map), 0) ?? 0;
  return weights <= buffers.weight_bytes && rows + result <= buffers.map_bytes;
}

function windowBytes({ inputs: [input, ...others], window }: NetworkLayer, sizes: LayerSizes): number {
  if (!input) return 0;
  const rows = Math.min(input.rows, window.rows + Math.ceil(window.stride));
  return rows * sizes.row(input) + others.reduce((sum, map) => sum + sizes.row(map), 0);
}

function movedBytes(group: readonly NetworkLayer[], profile: AcceleratorProfile, sizes: LayerSizes): number {
  const sum = (maps: readonly FeatureMap[]): number => maps.reduce((total, map) => total + sizes.transferred(map), 0);
  const [only] = group;
  const inputs = group.map((layer, place) => sum(place === 0 ? layer.inputs : layer.inputs.slice(1)));
  const bytes = inputs.reduce((total, each) => total + each, 0) + sum(group.at(-1)?.outputs ?? []);
  const again = only && group.length === 1 ? refetchedBytes(only, { profile, sizes, input_bytes: sum(only.inputs) }) : 0;
  return bytes + again + group.reduce((total, layer) => total + sizes.weights(layer), 0);
}
