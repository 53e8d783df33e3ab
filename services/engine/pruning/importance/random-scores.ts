/** The baseline that every criterion has to beat. */
import { pseudoRandom } from '../../runtime/pseudo-random.js';

/** Uniform in [0, 1), the same for a group and a seed on every machine. */
export function randomScores(units: number, group: string, seed: number): Float64Array {
  let state = seed | 0;
  for (const letter of group) state = (Math.imul(state, 31) + letter.charCodeAt(0)) | 0;
  const { uniform } = pseudoRandom(state);
  return Float64Array.from({ length: units }, uniform);
}
