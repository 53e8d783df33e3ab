/** The baseline that every criterion has to beat. */

/** Uniform in [0, 1): SplitMix32 (Steele, Lea, Flood 2014), the same for a group and a seed on every machine. */
export function randomScores(units: number, group: string, seed: number): Float64Array {
  let state = seed | 0;
  for (const letter of group) state = (Math.imul(state, 31) + letter.charCodeAt(0)) | 0;
  return Float64Array.from({ length: units }, () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  });
}
