/** The method distribution-aware. */
export { distributionAware } from './distribution-aware.js';
export type { DistributionAwareOptions } from './options.js';
