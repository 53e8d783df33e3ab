/** Options of low-bit storage, as weight-only passes them on. */
import type { Node } from '../../ir/index.js';
import type { RoundingAlgorithm } from './layer-rounding.js';
import type { StoredBits } from './stored-weight.js';

/** They are for matrices in blocks. */
const blockAlgorithms = ['hqq', 'k-quant', 'awq', 'coordinate-descent'] as const;
type BlockAlgorithm = (typeof blockAlgorithms)[number];

/** The algorithm when it is one for what is stored here. */
export function storageAlgorithm(algorithm: RoundingAlgorithm | BlockAlgorithm | undefined): RoundingAlgorithm | null {
  return algorithm === undefined || isForBlocks(algorithm) ? null : algorithm;
}

function isForBlocks(algorithm: RoundingAlgorithm | BlockAlgorithm): algorithm is BlockAlgorithm {
  return blockAlgorithms.some((each) => each === algorithm);
}

export interface LowBitOptions {
  /** Bits of the weights of Conv and ConvTranspose; 32 leaves them. Default 8. */
  readonly convBits?: StoredBits | 32;
  /** Bits of the weights of LSTM, GRU and RNN; 32 leaves them. Default 8. */
  readonly recurrentBits?: 4 | 8 | 32;
  /** The first and the last layer of the model keep 8 bits. Default true. */
  readonly protectEnds?: boolean;
  /** The nodes that keep 8 bits, in place of the ends of the model as it is now. */
  readonly ends?: ReadonlySet<Node>;
  /**
   * How weights are rounded below 8 bits. 'rtn' and 'mse' look at the weights alone; 'hessian', 'gptq', 'adaround' and
   * 'block-reconstruction' need samples. Those for matrices in blocks leave the choice to this method, as does no word:
   * 'adaround' when there are samples, 'mse' when there are none.
   */
  readonly algorithm?: RoundingAlgorithm | BlockAlgorithm;
  /** Operators that may be changed; all five when absent. */
  readonly opTypes?: readonly string[];
  /** Names of nodes to leave alone; * stands for any characters. */
  readonly exclude?: readonly string[];
  /** Bits of single nodes by name, before everything else that decides about bits; 32 leaves the node. */
  readonly layerBits?: ReadonlyMap<string, StoredBits | 32>;
}
