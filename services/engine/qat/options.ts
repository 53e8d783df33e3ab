/** Options of quantization-aware training, as the recipe writes them. */
import type { TrainingOptions } from '../training/index.js';

export interface QatOptions extends TrainingOptions {
  /** Bits of the weights of convolutions. Default 4. */
  readonly weight_bits?: 2 | 3 | 4 | 8;
  /** Bits of the inputs of those convolutions; 32 leaves them in float. Default 8. */
  readonly activation_bits?: 8 | 32;
  /** First and last layer keep 8 bits. Default true. */
  readonly protect_ends?: boolean;
  /** What training starts from. Default 'gptq'. */
  readonly rounding?: 'rtn' | 'mse' | 'hessian' | 'gptq' | 'adaround';
  readonly exclude?: readonly string[];
}
