/** A product whose transpose is wanted. */
import { attributeOf, floatAttribute, type GraphWriter, intAttribute, type Value } from '../ir/index.js';

/**
 * (op(A) op(B))^T = op(B)^T op(A)^T. Null unless `value` is a FusedMatMul of the graph and `order` changes its last two axes
 * only. The product that `value` was may be left unread.
 */
export function transposedProduct(write: GraphWriter, value: Value, order: readonly number[]): Value | null {
  const node = value.producer;
  const rank = order.length;
  const isSwap = rank >= 2 && order.every((from, axis) => from === (axis < rank - 2 ? axis : 2 * rank - 3 - axis));
  if (!isSwap || node?.opType !== 'FusedMatMul' || node.graph !== write.graph) return null;
  if (intAttribute(node, 'transBatchA', 0) !== 0 || intAttribute(node, 'transBatchB', 0) !== 0) return null;
  const [a, b] = node.inputs as readonly Value[];
  if (!a || !b) return null;
  return write.microsoft('FusedMatMul', [b, a], {
    transA: attributeOf.int(intAttribute(node, 'transB', 0) === 0 ? 1 : 0),
    transB: attributeOf.int(intAttribute(node, 'transA', 0) === 0 ? 1 : 0),
    alpha: attributeOf.float(floatAttribute(node, 'alpha', 1)),
  });
}
