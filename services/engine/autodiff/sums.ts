/** Sums over all axes but one, in the order that the runtime is fast in. */
import { attributeOf, elementCount, float32Tensor, type GraphWriter, type Value } from '../ir/index.js';

const dropped = { keepdims: attributeOf.int(0) };

/** [N, C, ...] to [C]: positions first, which lie together in memory, then samples (training.md 4.1). */
export function channelSums(write: GraphWriter, value: Value, dims: readonly number[]): Value {
  const [batch = 1, channels = 1] = dims;
  if (dims.length === 2) return columnSums(write, value, dims);
  const flat = write.node('Reshape', [value, write.ints([batch, channels, -1])]);
  return write.node('ReduceSum', [write.node('ReduceSum', [flat, write.ints([2])], dropped), write.ints([0])], dropped);
}

/** [R..., D] to [D]: a product with ones, as sums over leading axes are several times slower. */
export function columnSums(write: GraphWriter, value: Value, dims: readonly number[]): Value {
  const columns = dims.at(-1) ?? 1;
  const rows = elementCount(dims.slice(0, -1));
  const ones = write.constant(float32Tensor([1, rows], new Float32Array(rows).fill(1)));
  const sums = write.node('MatMul', [ones, write.node('Reshape', [value, write.ints([rows, columns])])]);
  return write.node('Reshape', [sums, write.ints([columns])]);
}
