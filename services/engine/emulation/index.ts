/** Emulation of processors that answer differently from the one at hand. */
export { type EmulationOptions, openEmulated } from './open-emulated.js';
