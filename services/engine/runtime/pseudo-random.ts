/** Reproducible random numbers for generated inputs: the same seed gives the same samples on every machine. */

export interface PseudoRandom {
  /** Uniform in [0, 1). */
  uniform(): number;
  /** Standard normal. */
  normal(): number;
  /** Uniform integer in [0, bound). */
  below(bound: number): number;
}

/** SplitMix32: z = s += 0x9e3779b9; two xor-shift-multiply rounds (Steele, Lea, Flood 2014, 32 bit variant). */
export function pseudoRandom(seed: number): PseudoRandom {
  let state = seed | 0;
  const uniform = (): number => {
    state = (state + 0x9e3779b9) | 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  };
  /** Box and Muller 1958: sqrt(-2 ln u) cos(2 pi v). */
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  return { uniform, normal, below: (bound) => Math.floor(uniform() * bound) };
}
