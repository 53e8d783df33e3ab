/** Storage of weights in 2 to 8 bits that the runtime widens when it loads the model. */
export type { RoundingAlgorithm } from './layer-rounding.js';
export type { LowBitOptions } from './options.js';
export { storeLowBit } from './store-low-bit.js';
