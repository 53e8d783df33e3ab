/** Bytes of weights and maps in words of an accelerator, for given bit widths. */
import type { FeatureMap, NetworkLayer } from './network-layers.js';
import { type AcceleratorProfile, storedBits } from './profile.js';

/** Of tensors that are not named: 16-bit fixed point is what a network has before anything is done to it. */
export const UNCOMPRESSED_BITS = 16;

export interface BitWidths {
  /** Bits of a code by the name of the initializer. */
  readonly weights?: ReadonlyMap<string, number>;
  /** Bits of a code by any name of the map; the narrowest counts. */
  readonly maps?: ReadonlyMap<string, number>;
  /** Mean bits per value in memory, a fraction, of maps that pass through it compressed. On the chip they are wide again. */
  readonly compressed?: ReadonlyMap<string, number>;
}

export class LayerSizes {
  private readonly mapBits = new Map<FeatureMap, number>();

  constructor(
    private readonly profile: AcceleratorProfile,
    private readonly widths: BitWidths,
  ) {}

  /** Bytes of all weights of a layer. */
  weights(layer: NetworkLayer): number {
    return layer.weights.reduce((sum, { name, elements }) => sum + (elements * this.weightBits(name)) / 8, 0);
  }

  /** Bytes of a map in the buffer. */
  held(map: FeatureMap): number {
    return (map.elements * this.bitsOf(map)) / 8;
  }

  /** Bytes of a map on its way to or from memory. */
  transferred(map: FeatureMap): number {
    const compressed = narrowest(this.widths.compressed, map.names);
    return (map.elements * Math.min(this.bitsOf(map), compressed ?? Number.POSITIVE_INFINITY)) / 8;
  }

  /** Bytes of one row of a map in the buffer, all its channels. */
  row(map: FeatureMap): number {
    return this.held(map) / Math.max(1, map.rows);
  }

  /** Bits of the wider operand of the multiplications of a layer. */
  operandBits(layer: NetworkLayer): number {
    const weight = layer.weights[0] ? this.weightBits(layer.weights[0].name) : 0;
    return Math.max(weight, ...layer.inputs.map((map) => this.bitsOf(map)), 1);
  }

  private weightBits(name: string): number {
    return storedBits(this.widths.weights?.get(name) ?? UNCOMPRESSED_BITS, this.profile.words.weights);
  }

  private bitsOf(map: FeatureMap): number {
    let bits = this.mapBits.get(map);
    if (bits === undefined) {
      bits = storedBits(narrowest(this.widths.maps, map.names) ?? UNCOMPRESSED_BITS, this.profile.words.maps);
      this.mapBits.set(map, bits);
    }
    return bits;
  }
}

function narrowest(widths: ReadonlyMap<string, number> | undefined, names: readonly string[]): number | undefined {
  const given = names.flatMap((name) => widths?.get(name) ?? []);
  return given.length === 0 ? undefined : Math.min(...given);
}
