/** Options of sparsity, as the recipe writes them. */

/** 'unstructured', 'N:M' such as '2:4', or [outputs, inputs] of the blocks that become zero as a whole. */
export type PatternOption = string | readonly [number, number];

export type Criterion = 'magnitude' | 'wanda' | 'sparsegpt';
export type Allocation = 'uniform' | 'global' | 'lamp' | 'erk';

export interface LayerOverride {
  /** Names of nodes; '*' stands for any characters. */
  readonly nodes: readonly string[];
  /** Fraction of the weights that become zero; 0 leaves the layers as they are. Not with N:M, which says it itself. */
  readonly sparsity?: number;
  /** Default: that of the step. */
  readonly pattern?: PatternOption;
}

export interface SparsityOptions {
  /** Fraction of the weights that become zero, 0 to 1. Default 0.5; not with N:M, which says it itself. */
  readonly sparsity?: number;
  /** Default 'unstructured'. */
  readonly pattern?: PatternOption;
  /** Default 'sparsegpt' with calibration samples, 'magnitude' without. */
  readonly criterion?: Criterion;
  /** How the zeros are divided among the layers. Default 'uniform': each layer has its fraction. */
  readonly allocation?: Allocation;
  /** Later rules win. */
  readonly layers?: readonly LayerOverride[];
  readonly op_types?: readonly string[];
  readonly exclude?: readonly string[];
  /** Prune embedding tables, too. Default false. */
  readonly embeddings?: boolean;
  /** The first and the last layer stay as they are. Default true. */
  readonly protect_ends?: boolean;
  /** The zeros come in so many steps, with statistics of the inputs estimated anew for each. Default one. */
  readonly schedule?: { readonly steps: number; readonly kind?: 'cubic' | 'linear' };
  /** The mean of each channel is moved back to where it was in the dense model. Default true, where there are samples. */
  readonly bias_correction?: boolean;
  /** Layers return to dense until the outputs on the calibration samples have this signal to noise ratio. */
  readonly min_sqnr_db?: number;
}
