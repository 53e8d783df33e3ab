/** What changes one sample: in place, with random numbers that belong to this sample and this epoch. */
import { EngineError } from '../../engine-errors.js';
import type { PseudoRandom } from '../../runtime/pseudo-random.js';

/** A target that is a picture of the sample, `factor` times as high and as wide: [channels, factor height, factor width]. */
export interface TargetImage {
  readonly values: Float32Array;
  readonly factor: number;
}

/** `dims`: shape of one sample, without the sample axis. */
export interface AugmentedRow {
  readonly values: Float32Array;
  readonly dims: readonly number[];
  /** Absent where targets are no pictures, or there are none. */
  readonly target?: TargetImage;
}

export type RowAugmentation = (row: AugmentedRow, random: PseudoRandom) => void;

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
