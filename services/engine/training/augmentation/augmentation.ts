/** Changes samples on their way into a training step: what happens to a sample follows from seed, epoch and sample alone. */
import type { PseudoRandom } from '../../runtime/pseudo-random.js';
import { randomStream } from '../random-stream.js';
import { type CropOptions, type CutoutOptions, crop, cutout, type FlipOptions, flip } from './image-augmentation.js';
import { checkMixup, type MixupOptions, mixRows, mixupShare } from './mixup.js';
import type { RowAugmentation, TargetImage } from './row-augmentation.js';
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
  /** Their dims, given where they may be pictures: what moves a sample moves a target of a whole multiple of its size then. */
  readonly targetDims?: readonly number[];
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
          factor: targetFactor(batch),
          randoms: Array.from(batch.samples, (sample) => randomStream(seed, epoch, sample, place)),
        });
      return augmented;
    },
  };
}

interface BatchFacts {
  /** Of one sample. */
  readonly dims: readonly number[];
  /** Size of a target that is a picture, over that of its sample; undefined for other targets. */
  readonly factor: number | undefined;
  /** One stream of random numbers per row. */
  readonly randoms: readonly PseudoRandom[];
}

/** In place. */
type BatchStep = (batch: AugmentedBatch, facts: BatchFacts) => void;

/** [N, C, H, W] beside targets of [N, K, f H, f W]. */
function targetFactor({ dims, targetDims }: AugmentationBatch): number | undefined {
  if (dims.length !== 4 || targetDims?.length !== 4) return undefined;
  const [height, width] = [2, 3].map((axis) => (targetDims[axis] ?? 0) / (dims[axis] ?? 1));
  return height === width && Number.isInteger(height) && height !== 0 ? height : undefined;
}

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
  return ({ values, targets }, { dims, factor, randoms }) => {
    const count = randoms.length;
    const rowOf = (all: Float32Array, row: number): Float32Array =>
      all.subarray((row * all.length) / count, ((row + 1) * all.length) / count);
    for (const [row, random] of randoms.entries()) {
      const target: TargetImage | undefined = targets && factor ? { values: rowOf(targets, row), factor } : undefined;
      augment({ values: rowOf(values, row), dims, ...(target ? { target } : {}) }, random);
    }
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
