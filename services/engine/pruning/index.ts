/** Structured pruning: smaller layers, or fewer, not zeros in layers. */
export { type LayerDroppingOptions, layerDropping } from './depth/layer-dropping.js';
export type { StructuredPruningOptions } from './options.js';
export { removableGroups } from './structure/removable-groups.js';
export { structuredPruning } from './structured-pruning.js';
