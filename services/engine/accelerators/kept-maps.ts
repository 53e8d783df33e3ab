/** Which maps need not leave the chip because everything that is alive at the same time fits the buffer. */
import type { LayerSizes } from './layer-sizes.js';
import type { FeatureMap, NetworkLayers } from './network-layers.js';
import type { AcceleratorProfile } from './profile.js';

/**
 * A map is alive from the layer that writes it to the last one that reads it. It stays on the chip when at each of these layers all
 * living maps fit the buffer together. Inputs and outputs of the network never stay.
 */
export function mapsKeptOnChip(
  { layers, maps }: NetworkLayers,
  { buffers }: AcceleratorProfile,
  sizes: LayerSizes,
): ReadonlySet<FeatureMap> {
  const lives = maps.map((map) => {
    const touching = layers.flatMap(({ inputs, outputs }, place) => (inputs.includes(map) || outputs.includes(map) ? [place] : []));
    return { map, first: touching[0] ?? 0, last: touching.at(-1) ?? 0, bytes: sizes.held(map) };
  });
  const alive = layers.map((_, place) =>
    lives.reduce((sum, { first, last, bytes }) => (first <= place && place <= last ? sum + bytes : sum), 0),
  );
  const fits = ({ first, last }: { first: number; last: number }): boolean =>
    alive.slice(first, last + 1).every((bytes) => bytes <= buffers.map_bytes);
  return new Set(lives.filter((life) => !life.map.isInterface && fits(life)).map(({ map }) => map));
}
