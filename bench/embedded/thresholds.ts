/** What issue 7 asks for under 'Must show' of embedded accelerators, as data. */
import type { Bound } from '../quantization/thresholds.js';

/** Must show 3: bit-exact on a million random maps. */
export const exactMaps: Bound = { limit: 0, kind: 'most' };
/** Must show 3: within 15 % of the entropy of differences on the maps of espcn_x3. */
export const nearEntropy: Bound = { limit: 1.15, kind: 'most' };
