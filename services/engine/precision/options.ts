/** Options of cross-layer-scaling and precision-lowering, as the recipe writes them. */
import type { TrainingOptions } from '../training/index.js';

export interface CrossLayerScalingOptions {
  /** Between balancing the weights of the readers (0) and the ranges of the channels (1). Default: the one with the least noise at the outputs. */
  readonly exponent?: number;
  /** Widths at which exponents are compared. Default 4 (6 where maps are coded) and 8. */
  readonly activation_bits?: number;
  readonly weight_bits?: number;
  /** One scale for a weight or one per output channel, when exponents are compared. Default 'tensor'. */
  readonly weight_granularity?: 'tensor' | 'channel';
  /** Maps are coded without loss afterwards: exponents are compared by what the coded maps take, too. */
  readonly compressed_maps?: boolean;
}

export interface PrecisionLoweringOptions {
  /** Narrowest widths that are tried. Default 2. */
  readonly min_activation_bits?: number;
  readonly min_weight_bits?: number;
  /** Widths that all maps or all weights get; then nothing is searched for them. */
  readonly activation_bits?: number;
  readonly weight_bits?: number;
  /** Default 'tensor'. */
  readonly weight_granularity?: 'tensor' | 'channel';
  /** Least signal to noise ratio of the outputs on the calibration samples, in dB. Default 30, unless the gate bounds the loss of a metric. */
  readonly min_sqnr_db?: number;
  /** Maps are coded without loss on their way (the method activation-compression follows): what they cost is measured with its coder. */
  readonly compressed_maps?: boolean;
  /** Training with everything rounded, of each choice of widths that is compared with the budget. Default: none. */
  readonly recovery?: RecoveryOptions;
  /** Nodes whose weights keep 16 bits, by name; '*' stands for any characters. */
  readonly exclude?: readonly string[];
}

/** After the model as it came to the step, without labels, where no losses are named. */
export type RecoveryOptions = Pick<
  TrainingOptions,
  'epochs' | 'batch_size' | 'learning_rate' | 'seed' | 'losses' | 'clip_norm' | 'average_decay'
>;
