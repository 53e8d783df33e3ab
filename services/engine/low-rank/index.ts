/** The method low-rank for the pipeline. */
export { lowRank } from './low-rank.js';
export type { LowRankOptions } from './options.js';
