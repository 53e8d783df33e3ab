/** The door of sparsity: the method and its options. */
export type { SparsityOptions } from './options.js';
export { sparsity } from './sparsity.js';
