/** What a recipe says of training, and what it means when it says nothing. */
import type { AugmentationOptions } from './augmentation/augmentation.js';
import type { OpenLossTerm } from './automatic-hints.js';
import type { Schedule } from './learning-rate.js';
import type { OptimizerOptions } from './optimizer.js';
import type { RegularizerChoice } from './regularization/regularizer.js';
import type { TrainerOptions } from './trainer.js';

export type OptimizerChoice =
  | { readonly name: 'sgd'; readonly momentum?: number; readonly nesterov?: boolean; readonly weight_decay?: number }
  | {
      readonly name: 'adam' | 'adamw' | 'lion';
      readonly betas?: readonly [number, number];
      readonly weight_decay?: number;
    };

export type ScheduleChoice =
  | { readonly name: 'constant' }
  | { readonly name: 'cosine'; readonly final_share?: number }
  | { readonly name: 'step'; readonly at: readonly number[]; readonly factor?: number }
  | { readonly name: 'one-cycle'; readonly rise_share?: number };

export interface TrainingOptions {
  /** 'fresh' begins with random weights, 'keep' (default) with those of the model. */
  readonly initialize?: 'keep' | 'fresh';
  /** Passes over the data set. */
  readonly epochs?: number;
  /** Samples per step. Default 64. */
  readonly batch_size?: number;
  /** Of the order of the samples and of the augmentation. Default 0. */
  readonly seed?: number;
  readonly optimizer?: OptimizerChoice;
  /** The highest of the run. */
  readonly learning_rate?: number;
  readonly schedule?: ScheduleChoice;
  /** Steps in which the learning rate rises. */
  readonly warm_up_steps?: number;
  readonly clip_norm?: number;
  /** Share of the average of the weights that each step keeps; the averages are what is written. */
  readonly average_decay?: number;
  readonly augmentation?: readonly AugmentationOptions[];
  /** Names of the only constants that move; '*' stands for any characters. */
  readonly trainable?: readonly string[];
  /** Names of constants that do not move. */
  readonly frozen?: readonly string[];
  /**
   * 'batch' (default) normalizes by the batch and moves the running statistics; 'fixed' keeps them; 'insert' also puts fresh ones
   * behind convolutions that have none, and folds them away again: the default where the regularizer needs them.
   */
  readonly batch_normalization?: 'batch' | 'fixed' | 'insert';
  /** What the outputs mean, where labels do not tell. */
  readonly task?: 'classification' | 'regression';
  /** Default: by the kind of each output. */
  readonly losses?: readonly OpenLossTerm[];
  /** Default: none. */
  readonly regularizer?: RegularizerChoice;
}

/** Defaults by method: from scratch, or from weights that are good already. */
export interface TrainingDefaults {
  readonly epochs: number;
  readonly learningRate: number;
}

const BATCH_SIZE = 64;
const WARM_UP_STEPS = 0;

export const batchSizeOf = (options: TrainingOptions): number => options.batch_size ?? BATCH_SIZE;

/** 'slimming' is of normalizations: a model whose own were folded gets fresh ones. */
export function normalizationOf({ batch_normalization, regularizer }: TrainingOptions): 'batch' | 'fixed' | 'insert' {
  return batch_normalization ?? (regularizer?.kind === 'slimming' ? 'insert' : 'batch');
}

export function trainerOptions(options: TrainingOptions, defaults: TrainingDefaults): TrainerOptions {
  return {
    epochs: options.epochs ?? defaults.epochs,
    optimizer: optimizerOptions(options.optimizer ?? { name: 'adamw' }),
    learningRate: {
      rate: options.learning_rate ?? defaults.learningRate,
      warmUpSteps: options.warm_up_steps ?? WARM_UP_STEPS,
      schedule: schedule(options.schedule ?? { name: 'cosine' }),
    },
    ...(options.clip_norm === undefined ? {} : { clipNorm: options.clip_norm }),
    ...(options.average_decay === undefined ? {} : { averageDecay: options.average_decay }),
  };
}

function optimizerOptions(choice: OptimizerChoice): OptimizerOptions {
  const decay = choice.weight_decay === undefined ? {} : { weightDecay: choice.weight_decay };
  if (choice.name === 'sgd') {
    const { momentum = 0.9, nesterov = false } = choice;
    return { name: 'sgd', momentum, nesterov, ...decay };
  }
  return { name: choice.name, ...(choice.betas ? { betas: choice.betas } : {}), ...decay };
}

function schedule(choice: ScheduleChoice): Schedule {
  switch (choice.name) {
    case 'cosine':
      return { name: 'cosine', ...(choice.final_share === undefined ? {} : { finalShare: choice.final_share }) };
    case 'one-cycle':
      return { name: 'one-cycle', ...(choice.rise_share === undefined ? {} : { riseShare: choice.rise_share }) };
    default:
      return choice;
  }
}
