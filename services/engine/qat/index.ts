/** The method qat. */
export type { QatOptions } from './options.js';
export { qat } from './qat.js';
