/** A layer that is rounded on what its inputs are in the network that is rounded before it, and what became of it. */
import type { Node } from '../../ir/index.js';
import type { ChannelLayout } from '../../layers/channel-layout.js';
import type { Constant } from '../../layers/weight-store.js';
import type { RoundedLayer } from './layer-rounding.js';
import type { StoredBits } from './stored-weight.js';

/** A convolution of the main graph, or a product with a constant matrix on its right side. */
export interface SequentialLayer {
  readonly node: Node;
  readonly weight: Constant;
  readonly layout: ChannelLayout;
  readonly bits: StoredBits;
}

export interface SequentialResult extends RoundedLayer {
  /** To be added to the bias of each channel; absent where no bias can be changed. */
  readonly biasShift?: Float64Array;
  /** What block reconstruction left of the error of the block, from 0 to 1; absent where it took nothing away. */
  readonly blockError?: number;
  /** 10 log10(sum y^2 / sum (y - y')^2) of the product of weight and inputs; absent when its inputs were not seen. */
  readonly sqnr?: number;
}
