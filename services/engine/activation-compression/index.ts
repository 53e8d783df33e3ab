/** Lossless coding of the maps of a model, measured on samples. */
export { activationCompression } from './activation-compression.js';
export type { ActivationCompressionOptions } from './options.js';
