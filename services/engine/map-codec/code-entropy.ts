/** Entropy of codes and of their differences along the width: what a coder is measured against. */
import type { MapLayout } from './map-layout.js';

/** Counts over any number of maps of the same bits, in memory of two histograms. */
export class CodeEntropy {
  private readonly values: Float64Array;
  private readonly deltas: Float64Array;
  private readonly offset: number;

  constructor(bits: number) {
    this.offset = 2 ** bits - 1;
    this.values = new Float64Array(2 ** bits);
    this.deltas = new Float64Array(2 * this.offset + 1);
  }

  /** The first value of a row counts as the difference to zero. */
  add(codes: ArrayLike<number>, { columns, zero }: Pick<MapLayout, 'columns' | 'zero'>): void {
    for (let index = 0; index < codes.length; index++) {
      const code = codes[index] ?? 0;
      const left = index % columns === 0 ? zero : (codes[index - 1] ?? 0);
      this.values[code] = (this.values[code] ?? 0) + 1;
      const place = code - left + this.offset;
      this.deltas[place] = (this.deltas[place] ?? 0) + 1;
    }
  }

  /** Bits per value. */
  get ofValues(): number {
    return entropy(this.values);
  }

  /** Bits per difference to the left neighbour. */
  get ofDeltas(): number {
    return entropy(this.deltas);
  }
}

/** H = -sum p log2 p */
function entropy(counts: Float64Array): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  return counts.reduce((sum, count) => (count > 0 ? sum - (count / total) * Math.log2(count / total) : sum), 0);
}
