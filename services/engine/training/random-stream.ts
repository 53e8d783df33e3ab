/** Random numbers that belong to a place in the training (an epoch, a sample): the same for a run that was resumed there. */
import { type PseudoRandom, pseudoRandom } from '../runtime/pseudo-random.js';

/** A stream for whole numbers `place` under `seed`; streams of different places have nothing to do with each other. */
export function randomStream(seed: number, ...place: readonly number[]): PseudoRandom {
  let state = mixed(seed | 0);
  for (const each of place) state = mixed(Math.imul(state, 31) + 0x9e3779b9 + each);
  return pseudoRandom(state);
}

/** The finalizer of MurmurHash3, 32 bit (Appleby 2011): each bit of the input moves half of those of the result. */
function mixed(word: number): number {
  let bits = word | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
