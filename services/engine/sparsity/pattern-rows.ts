/** Weights as patterns see them, and back: one row per output, in each row the inputs of the first position of the kernel first. */
import { elementCount, intAttribute, type Node } from '../ir/index.js';
import { type ChannelLayout, channelCount, channelDepth, fromRows, toRows } from '../layers/channel-layout.js';
import type { PatternMatrix } from './pattern.js';

/** How a weight lies in memory, and what patterns make of it. */
export interface WeightForm {
  readonly layout: ChannelLayout;
  readonly matrix: PatternMatrix;
  /** Sizes of the kernel; empty for what is no convolution. */
  readonly kernel: readonly number[];
}

/** Gates of a recurrent layer, the outputs of which patterns keep apart. */
const gates: Readonly<Record<string, number>> = { LSTM: 4, GRU: 3, RNN: 1 };

/** The form of the weight `dims` of `node` in `layout`; kernels make an input appear once for each of their positions. */
export function weightForm(node: Node, dims: readonly number[], layout: ChannelLayout): WeightForm {
  const [rows, depth] = [channelCount(layout), channelDepth(layout)];
  const isConvolution = node.opType === 'Conv' || node.opType === 'ConvTranspose';
  const kernel = isConvolution ? dims.slice(2) : [];
  const taps = elementCount(kernel);
  const parts = isConvolution ? intAttribute(node, 'group', 1) : (gates[node.opType] ?? 1) * (node.opType in gates ? (dims[0] ?? 1) : 1);
  return { layout, matrix: { rows, depth, inputs: depth / taps, rowRun: rows / parts }, kernel };
}

/** The weight [rows, depth] in the order of the pattern. */
export function patternRows(values: ArrayLike<number>, { layout, matrix }: WeightForm): Float64Array {
  const rows = toRows(values, layout);
  return matrix.inputs === matrix.depth ? rows : reordered(rows, matrix, 'to pattern');
}

/** The weight in its own order from [rows, depth] in the order of the pattern. */
export function weightValues(rows: Float64Array, { layout, matrix }: WeightForm): Float32Array {
  return fromRows(matrix.inputs === matrix.depth ? rows : reordered(rows, matrix, 'from pattern'), layout, Float32Array);
}

function reordered(rows: Float64Array, { depth, inputs }: PatternMatrix, way: 'to pattern' | 'from pattern'): Float64Array {
  const order = inputOrder({ depth, inputs });
  const result = new Float64Array(rows.length);
  for (let base = 0; base < rows.length; base += depth) {
    for (const [j, k] of order.entries()) {
      if (way === 'to pattern') result[base + j] = rows[base + k] ?? 0;
      else result[base + k] = rows[base + j] ?? 0;
    }
  }
  return result;
}

/** Which weight of an output, as it lies in memory [inputs, taps], stands at each place of the pattern [taps, inputs]. */
export function inputOrder({ depth, inputs }: Pick<PatternMatrix, 'depth' | 'inputs'>): Uint32Array {
  const taps = depth / inputs;
  return Uint32Array.from({ length: depth }, (_, j) => (j % inputs) * taps + Math.floor(j / inputs));
}
