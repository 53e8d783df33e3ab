/** Reverse-mode differentiation of ONNX graphs. */
export { blockConvolutions } from './blocked-convolution.js';
export { differentiability } from './gradient-table.js';
export { orderForRelease } from './release-order.js';
export { type VjpRequest, vjp } from './vjp.js';
