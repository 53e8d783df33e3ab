/** Exact graph rewriting: everything that keeps a model's outputs. */
export { cleanUp } from './clean-up.js';
