/** Reverse-mode differentiation of ONNX graphs. */
export { blockConvolutions } from './blocked-convolution.js';
export type { GradientRule } from './gradient-rule.js';
export { orderForRelease } from './release-order.js';
export { quantizationRules } from './rules/quantization.js';
export { removeUnread } from './unread-nodes.js';
export { type Estimator, straightThrough, vjp } from './vjp.js';
