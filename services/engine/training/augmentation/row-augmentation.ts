/** What changes one sample: in place, with random numbers that belong to this sample and this epoch. */
import { EngineError } from '../../engine-errors.js';
import type { PseudoRandom } from '../../runtime/pseudo-random.js';

/** `row`: elements of one sample of shape `dims` (without the sample axis). */
export type RowAugmentation = (row: Float32Array, dims: readonly number[], random: PseudoRandom) => void;

/** Throws EngineError `recipe_invalid` unless samples have `axes.length` axes. */
export function requireAxes(name: string, dims: readonly number[], axes: readonly string[]): void {
  if (dims.length !== axes.length)
    throw new EngineError('recipe_invalid', `Augmentation "${name}" takes samples of [${axes.join(', ')}], not of [${dims.join(', ')}].`);
}

/** Throws EngineError `recipe_invalid` unless `value` is a whole number of at least 1. */
export function requireCount(name: string, what: string, value: number): void {
  if (!Number.isInteger(value) || value < 1)
    throw new EngineError('recipe_invalid', `Augmentation "${name}" needs a whole number of at least 1 as its ${what}, not ${value}.`);
}
