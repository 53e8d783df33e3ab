/** Embedded accelerators: what they are, and the bytes and picojoules that an inference costs on them. */
export { addToBitTable, BIT_TABLE_KEY, type BitTable, bitTableOf, widthsOf } from './bit-table.js';
export type { BitWidths } from './layer-sizes.js';
export { type FeatureMap, type NetworkLayer, type NetworkLayers, networkLayers } from './network-layers.js';
export { type LayerTraffic, offChipTraffic, type Traffic, type TrafficTotals } from './off-chip-traffic.js';
export { type AcceleratorProfile, coderTile, type Dataflow } from './profile.js';
export { shippedProfile, shippedProfiles } from './shipped-profiles.js';
