/** The training loop: batches in a seeded order, one run of the graph each, one step of the optimizer, checkpoints on the way. */
import { EngineError } from '../engine-errors.js';
import { float32Tensor, float32Values, integerValues, type Tensor } from '../ir/index.js';
import type { Augmentation } from './augmentation/augmentation.js';
import type { CheckpointStore } from './checkpoint.js';
import { clipGlobalNorm } from './gradient-clipping.js';
import { type LearningRateOptions, learningRateAt } from './learning-rate.js';
import type { MovingAverage } from './moving-average.js';
import type { ObjectiveInputs } from './objective.js';
import type { Optimizer } from './optimizer.js';
import { epochBatches } from './sample-order.js';
import type { Teacher } from './teacher.js';
import type { TrainingData, TrainingRows } from './training-data.js';
import type { TrainingGraph } from './training-graph.js';
import type { BatchResult, TrainingSession } from './training-session.js';

/** Where a run stands: what the progress line and the learning curve are made of. */
export interface TrainingProgress {
  readonly epoch: number;
  readonly epochs: number;
  readonly step: number;
  readonly steps: number;
  /** Mean of the steps since the last report. */
  readonly loss: number;
  /** Share of right answers on the training batches, where labels are classes. */
  readonly accuracy?: number;
  readonly learningRate: number;
  readonly stepsPerSecond: number;
}
