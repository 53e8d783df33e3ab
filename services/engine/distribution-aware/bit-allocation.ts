/** Widths of single tensors under a mean, by what each does to the outputs alone. */
import type { Bits } from './options.js';

export const WIDTHS: readonly Bits[] = [3, 4, 5, 6, 7, 8];

export interface AllocatedTensor {
  readonly id: string;
  /** Numbers in it, per sample for an activation. */
  readonly elements: number;
  /** Distance of the outputs with this tensor in so many bits, all others in 8. */
  readonly distances: ReadonlyMap<number, number>;
}

/**
 * Greedy descent from 8 bits: the tensor whose next narrower width costs the least distance per bit saved is narrowed, until the
 * mean over all elements is at most `mean` (methods.md 3.9: near the optimum of the knapsack while costs add up).
 */
export function allocateBits(tensors: readonly AllocatedTensor[], mean: number): ReadonlyMap<string, Bits> {
  const bits = new Map<string, Bits>(tensors.map(({ id }) => [id, 8]));
  const total = tensors.reduce((sum, { elements }) => sum + elements, 0);
  let spent = 8 * total;
  while (spent > mean * total) {
    const steps = tensors.flatMap((tensor) => stepsOf(tensor, bits.get(tensor.id) ?? 8));
    const [cheapest] = steps.sort((a, b) => a.price - b.price);
    if (!cheapest) break;
    spent -= cheapest.saved;
    bits.set(cheapest.id, cheapest.bits);
  }
  return bits;
}

/** All narrower widths: a cheap one may lie behind a dear one, as costs are measured and not smooth. */
function stepsOf({ id, elements, distances }: AllocatedTensor, now: Bits): { id: string; bits: Bits; saved: number; price: number }[] {
  const cost = (bits: number): number => distances.get(bits) ?? 0;
  return WIDTHS.filter((bits) => bits < now).map((bits) => {
    const saved = (now - bits) * elements;
    return { id, bits, saved, price: (cost(bits) - cost(now)) / saved };
  });
}
