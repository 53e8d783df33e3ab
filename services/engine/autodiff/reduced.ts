/** Reductions in every operator set: their axes became an input in 13 (ReduceSum) and 18 (all others). */
import { attributeOf, type GraphWriter, type Value } from '../ir/index.js';

const OPSET_WITH_AXES_INPUT = 18;

/** ReduceMean, ReduceL1, ... over `axes`, which stay with size 1. */
export function reduced(write: GraphWriter, opType: string, value: Value, axes: readonly number[]): Value {
  const kept = { keepdims: attributeOf.int(1) };
  if (write.model.opset >= OPSET_WITH_AXES_INPUT) return write.node(opType, [value, write.ints(axes)], kept);
  return write.node(opType, [value], { ...kept, axes: attributeOf.ints(axes) });
}
