/** What the engine knows about operators. */
export { countMacs, type MacCount, type NodeMacs, type UncountedNode } from './count-macs.js';
export * from './operator-set.js';
