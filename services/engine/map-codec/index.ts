/** Lossless coding of integer maps on their way between an accelerator and its memory. */
export { CodeEntropy } from './code-entropy.js';
export { type CodingCounts, type DecodedTile, decodeMap, decodeTile, encodeMap } from './map-codec.js';
export { layoutOfMap, type MapLayout, tileCount } from './map-layout.js';
export { operationsPerValue } from './operations.js';
