/** What the engine knows about operators. */
export { countMacs, type MacCount, type NodeMacs, type UncountedNode } from './count-macs.js';
export { distinctTensors, holdsParameters, parameterCount } from './count-parameters.js';
export * from './operator-set.js';
