/** What a choice of widths costs: energy of the memory of an accelerator, or bytes where none is named. */
import { type AcceleratorProfile, offChipTraffic } from '../accelerators/index.js';
import type { Widths } from './narrow-network.js';
import type { NetworkTensors } from './network-tensors.js';

const everyWidth = Array.from({ length: 15 }, (_, index) => index + 2);

/** A memory that stores every width as it is, and a chip that keeps nothing: bytes, one picojoule each. */
const plainMemory: AcceleratorProfile = {
  name: 'plain-memory',
  title: 'Memory without words',
  source: 'Every map is written once and read by each layer, every weight read once.',
  buffers: { weight_bytes: Number.MAX_SAFE_INTEGER, map_bytes: Number.MAX_SAFE_INTEGER },
  words: { weights: everyWidth, maps: everyWidth },
  dataflow: { kind: 'layer-by-layer' },
  picojoules: { dram_byte: 1, sram_byte: 0, multiply: [{ bits: 16, picojoules: 0 }] },
};

/** Mean bits per value of a map in a width, coded without loss; undefined where it is not coded. */
export type CodedBits = (map: string, width: number) => number | undefined;

export class MemoryCost {
  private readonly profile: AcceleratorProfile;

  constructor(
    private readonly tensors: NetworkTensors,
    profile: AcceleratorProfile | undefined,
    private readonly codedBits: CodedBits = () => undefined,
  ) {
    this.profile = profile ?? plainMemory;
  }

  /** Picojoules of one inference, or bytes. */
  of(widths: Widths): number {
    const { network, maps, weights } = this.tensors;
    const given = (names: readonly { readonly name: string }[]): [string, number][] =>
      names.flatMap(({ name }): [string, number][] => {
        const width = widths.get(name);
        return width === undefined ? [] : [[name, width]];
      });
    const chosen = given(maps);
    const compressed = chosen.flatMap(([name, width]): [string, number][] => {
      const bits = this.codedBits(name, width);
      return bits === undefined ? [] : [[name, bits]];
    });
    const rounded = new Map(chosen.map(([name, width]) => [name, Math.ceil(width)]));
    const { total } = offChipTraffic(network, this.profile, {
      weights: new Map(given(weights)),
      maps: rounded,
      compressed: new Map(compressed),
    });
    return total.dram_picojoules;
  }
}
