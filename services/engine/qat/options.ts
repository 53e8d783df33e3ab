/** Options of quantization-aware training, as the recipe writes them. */
import type { RoundingAlgorithm } from '../quantization/weight-storage/index.js';
import type { TrainingOptions } from '../training/index.js';
import type { ActivationSteps } from './learned-steps.js';

/** What is rounded already is not pruned any more: no regularizer. */
export interface QatOptions extends Omit<TrainingOptions, 'regularizer'> {
  /** Bits of the weights of convolutions and of products with a constant matrix. Default 4. */
  readonly weight_bits?: 2 | 3 | 4 | 8;
  /** Bits of the inputs of those layers; 32 leaves them in float. Default 8. */
  readonly activation_bits?: 8 | 32;
  /** How the steps of those inputs are learned. Default 'lsq'. */
  readonly activation_steps?: ActivationSteps;
  /** First and last layer keep 8 bits. Default true. */
  readonly protect_ends?: boolean;
  /** What training starts from. Default 'gptq'. */
  readonly rounding?: RoundingAlgorithm;
  readonly exclude?: readonly string[];
}
