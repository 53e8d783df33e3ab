/** How many zeros each part of a weight gets when the whole is to have an exact number of them. */

export interface QuotaPart {
  /** What may become zero: weights, or blocks. */
  readonly units: number;
  /** Those of them that are zero already. */
  readonly zeros: number;
}

/**
 * Zeros of each part: in all the fraction of all units, rounded once; up to the end of each part as near to the fraction of
 * what lies before as that allows; in no part fewer than it has. When there are more zeros than the fraction asks for, they stay.
 */
export function quotas(parts: readonly QuotaPart[], fraction: number): number[] {
  const after = { units: total(parts, 'units'), zeros: total(parts, 'zeros') };
  const wanted = Math.max(after.zeros, Math.round(fraction * after.units));
  let [units, given] = [0, 0];
  return parts.map((part) => {
    units += part.units;
    after.units -= part.units;
    after.zeros -= part.zeros;
    const least = Math.max(part.zeros, wanted - given - after.units);
    const most = Math.min(part.units, wanted - given - after.zeros);
    const quota = Math.max(least, Math.min(most, Math.round(fraction * units) - given));
    given += quota;
    return quota;
  });
}

function total(parts: readonly QuotaPart[], of: keyof QuotaPart): number {
  return parts.reduce((sum, part) => sum + part[of], 0);
}
