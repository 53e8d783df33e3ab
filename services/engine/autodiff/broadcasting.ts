/** The adjoint of numpy broadcasting: what was repeated is summed. */
import { attributeOf, type GraphWriter, type Value } from '../ir/index.js';

/**
 * y[i] = x[broadcast(i)] has the adjoint x'[j] = sum of y'[i] over all i with broadcast(i) = j: added axes are summed
 * away, axes of size 1 are summed and kept (ONNX, Multidirectional Broadcasting). `from` is the shape of `gradient`.
 */
export function sumTo(write: GraphWriter, gradient: Value, from: readonly number[], to: readonly number[]): Value {
  const added = from.length - to.length;
  const stretched = to.flatMap((size, axis) => (size === 1 && from[axis + added] !== 1 ? [axis + added] : []));
  let sum = gradient;
  if (added > 0 || stretched.length > 0) {
    const axes = [...Array.from({ length: added }, (_, axis) => axis), ...stretched];
    sum = write.node('ReduceSum', [gradient, write.ints(axes)], { keepdims: attributeOf.int(added > 0 && stretched.length === 0 ? 0 : 1) });
    if (added > 0 && stretched.length > 0) sum = write.node('Reshape', [sum, write.ints(to)]);
  }
  return sum;
}
