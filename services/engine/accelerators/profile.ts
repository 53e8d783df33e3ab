/** What the traffic model has to know of an accelerator: buffers, word sizes, dataflow and energies. */

export interface AcceleratorProfile {
  /** Lower case with hyphens: what recipes and `--target` name. */
  readonly name: string;
  readonly title: string;
  /** What was published, by whom, and what is assumed here. */
  readonly source: string;
  /** On-chip bytes for the weights of a layer and for its maps. */
  readonly buffers: { readonly weight_bytes: number; readonly map_bytes: number };
  /** Bits of a word in memory. A code takes the narrowest word that holds it; wider codes than any are stored as they are. */
  readonly words: { readonly weights: readonly number[]; readonly maps: readonly number[] };
  /** Which scales its integer arithmetic can apply; any, where nothing is said. */
  readonly scales?: 'powers-of-two';
  readonly dataflow: Dataflow;
  readonly picojoules: {
    readonly dram_byte: number;
    readonly sram_byte: number;
    /** One multiply-accumulate by the bits of its wider operand. */
    readonly multiply: readonly { readonly bits: number; readonly picojoules: number }[];
  };
}

/**
 * How the layers of a network pass through the buffers; docs/decisions/0012-off-chip-traffic.md has the rules for what is fetched again.
 * - `layer-by-layer`: each layer reads its input from memory and writes its output; rows slide through the buffer. With `keeps_maps`,
 *   maps stay on the chip where everything alive fits the buffer.
 * - `tiles`: as before, in strips that fit the buffer; the rows that neighbouring strips share are read again.
 * - `fused-rows`: chains of layers pass a few rows on to each other without memory, as far as weights and rows fit the buffers.
 */
export type Dataflow =
  | { readonly kind: 'layer-by-layer'; readonly keeps_maps?: boolean }
  | { readonly kind: 'tiles' }
  | { readonly kind: 'fused-rows' };

/** Bits that a code of `bits` takes in words of the given widths: in the narrowest that holds it. */
export function storedBits(bits: number, words: readonly number[]): number {
  const wide = words.filter((word) => word >= bits);
  return wide.length > 0 ? Math.min(...wide) : bits;
}

/** Picojoule of one multiply-accumulate whose wider operand has `bits`; wider ones than any cost as the widest. */
export function multiplyPicojoules({ picojoules: { multiply } }: AcceleratorProfile, bits: number): number {
  const word = storedBits(
    bits,
    multiply.map((entry) => entry.bits),
  );
  const widest = multiply.reduce((a, b) => (b.bits > a.bits ? b : a));
  return (multiply.find((entry) => entry.bits === word) ?? widest).picojoules;
}

/**
 * The tiles in which maps are best coded on their way to memory. Where strips of a map share rows, a row must be readable alone: a larger
 * tile would be read whole on both sides of every border. Elsewhere rows come one after the other, and 8 of them help each other.
 */
export function coderTile(profile: AcceleratorProfile | undefined): { readonly rows: number; readonly columns: number } {
  return profile?.dataflow.kind === 'tiles' ? { rows: 1, columns: 512 } : { rows: 8, columns: 128 };
}
