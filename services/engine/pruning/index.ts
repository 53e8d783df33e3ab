/** Structured pruning: smaller layers, not zeros in layers. */
export type { StructuredPruningOptions } from './options.js';
export { structuredPruning } from './structured-pruning.js';
