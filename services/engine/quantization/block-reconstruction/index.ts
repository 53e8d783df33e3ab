/** Block reconstruction of rounded weights. */
export { reconstructBlocks } from './reconstruct-blocks.js';
