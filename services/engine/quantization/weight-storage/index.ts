/** Storage of weights in 2 to 8 bits that the runtime widens when it loads the model. */
export { type RoundingAlgorithm, roundLayer } from './layer-rounding.js';
export type { LowBitOptions } from './options.js';
export { isWorthStoring, type PlannedWeight, planStorage } from './planned-weights.js';
export { roundOnSamples } from './rounding-on-samples.js';
export { codeLimits } from './scale-search.js';
export type { SequentialResult } from './sequential-layer.js';
export { storeLowBit } from './store-low-bit.js';
export { type StoredBits, StoredWeights } from './stored-weight.js';
