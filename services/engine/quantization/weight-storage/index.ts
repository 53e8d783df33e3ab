/** Storage of weights in 2 to 8 bits that the runtime widens when it loads the model. */
export { type RoundingAlgorithm, roundLayer } from './layer-rounding.js';
export type { LowBitOptions } from './options.js';
export { type PlannedWeight, planStorage } from './planned-weights.js';
export { codeLimits } from './scale-search.js';
export { roundSequentially, type SequentialResult } from './sequential-rounding.js';
export { storeLowBit } from './store-low-bit.js';
export { StoredWeights } from './stored-weight.js';
