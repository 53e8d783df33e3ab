/** Reverse-mode differentiation of ONNX graphs. */
export { blockConvolutions } from './blocked-convolution.js';
export { orderForRelease } from './release-order.js';
export { vjp } from './vjp.js';
