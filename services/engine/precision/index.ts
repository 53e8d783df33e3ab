/** Narrow codes for accelerators: channels scaled between layers, and a width for every map and weight. */
export { crossLayerScaling } from './cross-layer-scaling.js';
export type { CrossLayerScalingOptions, PrecisionLoweringOptions } from './options.js';
export { precisionLowering } from './precision-lowering.js';
