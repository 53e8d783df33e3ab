/** Options of static-int8, as the recipe writes them. */
import type { CalibrationOptions } from '../../calibration/options.js';

export type { CalibrationOptions, RangeMethod } from '../../calibration/options.js';

export type ActivationType = 'uint8' | 'int8' | 'uint16' | 'int16';

/** A rule for chosen tensors or operators; later rules win. */
export interface TensorOverride {
  /** Names of activation tensors or weights; '*' stands for any characters. */
  readonly tensors?: readonly string[];
  /** Operators whose inputs and outputs the rule is for. */
  readonly op_types?: readonly string[];
  /** Leave in float. */
  readonly float?: boolean;
  readonly type?: ActivationType;
  readonly symmetric?: boolean;
  /** Both or none. */
  readonly scale?: number;
  readonly zero_point?: number;
  /** The real range instead of the calibrated one. */
  readonly range?: readonly [number, number];
}

export interface StaticInt8Options {
  readonly calibration?: CalibrationOptions;
  /** Default uint8 (int8 for arm64 targets is possible, too). 16 bit computes in float on CPUs. */
  readonly activation_type?: ActivationType;
  /** Symmetric activation ranges (zero point in the middle of the codes, or 0 where nothing is negative). Default false. */
  readonly symmetric?: boolean;
  /** One weight scale per output channel. Default true. */
  readonly per_channel?: boolean;
  /** 7-bit weights (-64..64). Default false: pair-safe scales are better. */
  readonly reduce_range?: boolean;
  /** Scales are powers of two. Default false. */
  readonly power_of_two?: boolean;
  /** Weight codes -127..127 instead of -128..127. Default true. */
  readonly narrow_range?: boolean;
  /** 'qdq' (default), or the fused operators themselves. */
  readonly format?: 'qdq' | 'qoperator';
  readonly op_types?: readonly string[];
  readonly exclude?: readonly string[];
  readonly overrides?: readonly TensorOverride[];
  /** Cross-layer equalization before calibration. Default false. */
  readonly equalize?: boolean;
  /** Outlier channels of the inputs of MatMul and Gemm move into the weights (SmoothQuant). Default: where LayerNormalization makes such channels. */
  readonly smooth?: boolean;
  /** Default 'fast'. */
  readonly bias_correction?: 'off' | 'fast' | 'sequential';
  /** How weights are rounded: alone, or for the least error of the products with the inputs seen. Default 'nearest'. */
  readonly rounding?: 'nearest' | 'seq-mse' | 'gptq' | 'adaround';
  /** Least signal to noise ratio of the outputs on the calibration samples, in dB: layers return to float until it holds. */
  readonly min_sqnr_db?: number;
}
