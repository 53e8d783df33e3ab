/** Mixup: each sample of a batch with a share of the next one, targets alike. */
import { EngineError } from '../../engine-errors.js';
import type { PseudoRandom } from '../../runtime/pseudo-random.js';

export interface MixupOptions {
  readonly name: 'mixup';
  /** Above 0, at most 2: small values leave most samples almost as they are. */
  readonly alpha: number;
}

const ALPHA_MAX = 2;

export function checkMixup({ alpha }: MixupOptions): void {
  if (!(alpha > 0 && alpha <= ALPHA_MAX))
    throw new EngineError('recipe_invalid', `Augmentation "mixup" needs an alpha above 0 and up to ${ALPHA_MAX}, not ${alpha}.`);
}

/** One share per row: of the row itself, at least one half, so that it stays more its own than its neighbour's. */
export function mixupShare({ alpha }: MixupOptions, random: PseudoRandom): number {
  const share = symmetricBeta(alpha, random);
  return Math.max(share, 1 - share);
}

/**
 * out_i = l_i x_i + (1 - l_i) x_(i+1), the last row with the first, l ~ Beta(alpha, alpha) (Zhang and others 2018). The order of
 * the batch is random, so the next row is a random one. In place; `values` holds shares.length rows of one length.
 */
export function mixRows(values: Float32Array, shares: readonly number[]): void {
  const length = values.length / shares.length;
  const first = values.slice(0, length);
  for (const [row, share] of shares.entries()) {
    const own = values.subarray(row * length, (row + 1) * length);
    const other = row + 1 < shares.length ? values.subarray((row + 1) * length, (row + 2) * length) : first;
    for (let at = 0; at < length; at++) own[at] = share * (own[at] ?? 0) + (1 - share) * (other[at] ?? 0);
  }
}

/** X / (X + Y) with X = U^(1/alpha), Y = V^(1/alpha), drawn again until X + Y <= 1 (Joehnk 1964): quick for a small alpha. */
function symmetricBeta(alpha: number, random: PseudoRandom): number {
  for (;;) {
    const x = random.uniform() ** (1 / alpha);
    const y = random.uniform() ** (1 / alpha);
    if (x + y > 0 && x + y <= 1) return x / (x + y);
  }
}
