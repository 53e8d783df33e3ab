/** Reverse-mode differentiation of ONNX graphs. */
export { differentiability } from './gradient-table.js';
export { type VjpRequest, vjp } from './vjp.js';
