/** Where the output channels of a weight lie: any weight as a matrix with one row per output channel, and back. */
import { elementCount, intAttribute, type Node } from '../ir/index.js';

/**
 * The weight as [outer, before, inner, behind]: its channels are the pairs (outer, inner), each summed over (before, behind).
 *   Conv [O, I/g, ...k]:           [O, 1, 1, I/g * k]
 *   ConvTranspose [I, O/g, ...k]:  [g, I/g, O/g, k]
 *   LSTM, GRU, RNN [d, 4h, i]:     [d * 4h, 1, 1, i]
 */
export interface ChannelLayout {
  readonly outer: number;
  readonly before: number;
  readonly inner: number;
  readonly behind: number;
  /** Channels in different groups are multiplied with different inputs. */
  readonly groups: number;
}

export function channelLayout(node: Node, dims: readonly number[]): ChannelLayout {
  const [first = 1, second = 1] = dims;
  switch (node.opType) {
    case 'Conv':
      return { outer: first, before: 1, inner: 1, behind: elementCount(dims.slice(1)), groups: intAttribute(node, 'group', 1) };
    case 'ConvTranspose': {
      const groups = intAttribute(node, 'group', 1);
      return { outer: groups, before: first / groups, inner: second, behind: elementCount(dims.slice(2)), groups };
    }
    default:
      return { outer: first * second, before: 1, inner: 1, behind: elementCount(dims.slice(2)), groups: 1 };
  }
}

/** A matrix whose `reductionAxis` products sum over: [K, N] for 0, [N, K] for 1. */
export function matrixLayout(reductionAxis: 0 | 1, [first = 1, second = 1]: readonly number[]): ChannelLayout {
  const single = { before: 1, inner: 1, groups: 1 };
  return reductionAxis === 1
    ? { ...single, outer: first, behind: second }
    : { ...single, outer: 1, before: first, inner: second, behind: 1 };
}

export function channelCount({ outer, inner }: ChannelLayout): number {
  return outer * inner;
}

export function channelDepth({ before, behind }: ChannelLayout): number {
  return before * behind;
}

/** Values in the order of the weight to [channels, depth]. */
export function toRows(values: ArrayLike<number>, layout: ChannelLayout): Float64Array {
  const rows = new Float64Array(values.length);
  eachPlace(layout, (place, row) => {
    rows[row] = values[place] ?? 0;
  });
  return rows;
}

/** [channels, depth] in the order of the weight, as an array that `Type` makes. */
export function fromRows<T extends Int8Array | Float32Array>(
  rows: ArrayLike<number>,
  layout: ChannelLayout,
  Type: { new (length: number): T },
): T {
  const values = new Type(rows.length);
  eachPlace(layout, (place, row) => {
    values[place] = rows[row] ?? 0;
  });
  return values;
}

function eachPlace({ outer, before, inner, behind }: ChannelLayout, visit: (place: number, row: number) => void): void {
  let place = 0;
  for (let o = 0; o < outer; o += 1) {
    for (let b = 0; b < before; b += 1) {
      for (let i = 0; i < inner; i += 1) {
        const row = ((o * inner + i) * before + b) * behind;
        for (let k = 0; k < behind; k += 1, place += 1) visit(place, row + k);
      }
    }
  }
}

/** Dims that spread one scale per channel over a weight of these dims; null when only [outer, before, inner, behind] can. */
export function scaleDims({ outer, before, inner }: ChannelLayout, dims: readonly number[]): readonly number[] | null {
  const ones = (from: number): number[] => dims.slice(from).map(() => 1);
  if (before === 1 && inner === 1) return outer === dims[0] ? [outer, ...ones(1)] : [...dims.slice(0, 2), ...ones(2)];
  return outer === 1 ? [1, inner, ...ones(2)] : null;
}
