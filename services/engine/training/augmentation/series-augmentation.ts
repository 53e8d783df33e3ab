/** Augmentation of series: samples of [T, F], all features alike; noise is for samples of any shape. */
import { EngineError } from '../../engine-errors.js';
import { type RowAugmentation, requireAxes, requireCount } from './row-augmentation.js';

/** The window moves by up to `steps` in time; what it loses at one end, the value at the other end fills. Targets stay. */
export interface JitterOptions {
  readonly name: 'jitter';
  readonly steps: number;
}

/** Normal noise with standard deviation `deviation`, in the units of the input. */
export interface NoiseOptions {
  readonly name: 'noise';
  readonly deviation: number;
}

/** out[t] = row[min(max(t + s, 0), T - 1)], s uniform from -steps to steps. */
export function jitter({ name, steps }: JitterOptions): RowAugmentation {
  requireCount(name, 'steps', steps);
  return ({ values: row, dims }, random) => {
    requireAxes(name, dims, ['time', 'features']);
    const [length = 0, features = 0] = dims;
    const shift = random.below(2 * steps + 1) - steps;
    const before = row.slice();
    for (let time = 0; time < length; time++) {
      const from = Math.min(Math.max(time + shift, 0), length - 1) * features;
      row.set(before.subarray(from, from + features), time * features);
    }
  };
}

/** out = row + deviation n, n standard normal for each element (Bishop 1995). */
export function noise({ name, deviation }: NoiseOptions): RowAugmentation {
  if (!(deviation > 0 && Number.isFinite(deviation)))
    throw new EngineError('recipe_invalid', `Augmentation "${name}" needs a deviation above 0, not ${deviation}.`);
  return ({ values: row }, random) => {
    for (let at = 0; at < row.length; at++) row[at] = (row[at] ?? 0) + deviation * random.normal();
  };
}
