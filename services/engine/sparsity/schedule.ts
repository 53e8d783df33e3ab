/** How the zeros come in steps. */
import type { SparsityOptions } from './options.js';

/**
 * The share of the zeros that is reached after each step; the last is 1. Cubic as in Zhu and Gupta 2017 (arXiv 1710.01878):
 *   s_t = 1 - (1 - t / n)^3, much while there is much that is not needed, little at the end.
 */
export function scheduledShares({ steps, kind = 'cubic' }: NonNullable<SparsityOptions['schedule']> = { steps: 1 }): number[] {
  return Array.from({ length: steps }, (_, step) => {
    const passed = (step + 1) / steps;
    return kind === 'linear' ? passed : 1 - (1 - passed) ** 3;
  });
}
