/** Changes samples on their way into a training step: what happens to a sample follows from seed, epoch and sample alone. */
import type { PseudoRandom } from '../../runtime/pseudo-random.js';
import { randomStream } from '../random-stream.js';
import { type CropOptions, type CutoutOptions, crop, cutout, type FlipOptions, flip } from './image-augmentation.js';
import { checkMixup, type MixupOptions, mixRows, mixupShare } from './mixup.js';
import type { RowAugmentation } from './row-augmentation.js';
import { type JitterOptions, jitter, type NoiseOptions, noise } from './series-augmentation.js';

export type AugmentationOptions = FlipOptions | CropOptions | CutoutOptions | MixupOptions | JitterOptions | NoiseOptions;

export interface AugmentationBatch {
  /** Elements of one input, float32. */
  readonly values: Float32Array;
  /** Its dims; the first axis is the samples. */
  readonly dims: readonly number[];
  /** Index in the data set of each row. */
  readonly samples: ArrayLike<number>;
  /** One row of numbers per sample (class shares, values), mixed with the samples; absent when nothing but a teacher is followed. */
  readonly targets?: Float32Array;
}

export interface AugmentedBatch {
  readonly values: Float32Array;
  readonly targets?: Float32Array;
}

export interface Augmentation {
  /** True when targets change, too: labels that are classes have to come as shares. */
  readonly mixesTargets: boolean;
  /**
   * Copies; the batch stays as it is. A row depends on seed, epoch and its sample, with mixup on its neighbour in the batch, too.
   * Throws EngineError `recipe_invalid` when the samples have other axes than an augmentation takes.
   */
  apply(batch: AugmentationBatch, epoch: number): AugmentedBatch;
}

/** In the order of `options`. Throws EngineError `recipe_invalid`. */
export function createAugmentation(options: readonly AugmentationOptions[], seed: number): Augmentation {
  const steps = options.map(stepOf);
  return {
    mixesTargets: options.some(({ name }) => name === 'mixup'),
    apply(batch, epoch) {
      const augmented = { values: batch.values.slice(), ...(batch.targets ? { targets: batch.targets.slice() } : {}) };
      for (const [place, step] of steps.entries())
        step(augmented, {
          dims: batch.dims.slice(1),
          randoms: Array.from(batch.samples, (sample) => randomStream(seed, epoch, sample, place)),
        });
      return augmented;
    },
  };
}

/** In place. `dims` of one sample; one stream of random numbers per row. */
type BatchStep = (batch: AugmentedBatch, facts: { readonly dims: readonly number[]; readonly randoms: readonly PseudoRandom[] }) => void;

function stepOf(options: AugmentationOptions): BatchStep {
  switch (options.name) {
    case 'flip':
      return rowByRow(flip(options));
    case 'crop':
      return rowByRow(crop(options));
    case 'cutout':
      return rowByRow(cutout(options));
    case 'jitter':
      return rowByRow(jitter(options));
    case 'noise':
      return rowByRow(noise(options));
    case 'mixup':
      return mixing(options);
    default:
      return options satisfies never;
  }
}

function rowByRow(augment: RowAugmentation): BatchStep {
  return ({ values }, { dims, randoms }) => {
    const length = values.length / randoms.length;
    for (const [row, random] of randoms.entries()) augment(values.subarray(row * length, (row + 1) * length), dims, random);
  };
}

function mixing(options: MixupOptions): BatchStep {
  checkMixup(options);
  return ({ values, targets }, { randoms }) => {
    const shares = randoms.map((random) => mixupShare(options, random));
    mixRows(values, shares);
    if (targets) mixRows(targets, shares);
  };
}
