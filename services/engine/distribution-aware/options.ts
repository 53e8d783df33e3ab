/** Options of distribution-aware; what each means is told in the schema of the recipe (contracts/forecasting-steps.ts). */
import type { TrainingOptions } from '../training/index.js';
import type { OutputDistance } from './output-distance.js';

/** What a rounded tensor is for: tensors of one role take one width, unless the search gives each its own. */
export type Role =
  | 'weights'
  | 'input'
  | 'gates'
  | 'cell'
  | 'hidden'
  | 'projections'
  | 'scores'
  | 'probabilities'
  | 'context'
  | 'activations';

export type Bits = 3 | 4 | 5 | 6 | 7 | 8;

/** 'extremes': what was seen; 'least-error': of each channel by itself; 'searched': those, then by what they do to the outputs. */
export type RangeChoice = 'extremes' | 'least-error' | 'searched';

/** Training of everything that is rounded, after the model as it came in. */
export type RoundingTraining = Pick<TrainingOptions, 'epochs' | 'batch_size' | 'learning_rate' | 'seed' | 'clip_norm' | 'losses'>;

export interface DistributionAwareOptions {
  readonly bits?: Bits;
  readonly tensor_bits?: Readonly<Partial<Record<Role, Bits>>>;
  readonly allocation?: 'uniform' | 'sensitivity';
  readonly distance?: OutputDistance;
  readonly per_channel?: boolean;
  readonly ranges?: RangeChoice;
  readonly correct_biases?: boolean;
  readonly refit_head?: boolean;
  readonly integer_kernels?: 'measure' | 'always' | 'never';
  readonly training?: RoundingTraining;
  readonly samples?: number;
  readonly exclude?: readonly string[];
}
