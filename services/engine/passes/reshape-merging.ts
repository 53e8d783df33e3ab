/** Reshape merging: chains of Reshape, Flatten, Squeeze and Unsqueeze become one Reshape with a constant target. */
import { int64Tensor, intAttribute, type Node, type Value } from '../ir/index.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';
import type { Extent } from './value-facts.js';

const reshapeTypes = ['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'];

export function isReshape(node: Node | null | undefined): node is Node {
  return node?.domain === '' && reshapeTypes.includes(node.opType);
}

/**
 * The constant operand with which Reshape turns `input` into `output`: 0 copies an axis of the same unknown size, one
 * -1 stands for another unknown size. undefined when two or more sizes stay open, or a size is 0 (which Reshape
 * would read as "copy").
 */
export function reshapeTarget(input: readonly Extent[] | null, output: readonly Extent[]): number[] | undefined {
  const target = output.map((size, axis) => {
    if (typeof size === 'number') return size;
    return size === input?.[axis] ? 0 : -1;
  });
  const open = target.filter((size) => size === -1).length;
  if (open > 1 || output.includes(0) || input?.includes(0)) return undefined;
  return target;
}

/** Reshape(input) with the shape of the first output of `node`, under its name; undefined when that is not expressible. */
export function reshapeInPlaceOf(node: Node, input: Value, scope: PassScope): Node | undefined {
  const shape = scope.facts.shape(node.outputs[0]);
  const target = shape && scope.opset >= 5 ? reshapeTarget(scope.facts.shape(input), shape) : undefined;
  if (!target) return undefined;
  const operand = scope.editor.addConstant(`${node.outputs[0]?.name}_shape`, int64Tensor([target.length], target));
  return scope.editor.replacement(node, { opType: 'Reshape', inputs: [input, operand] });
}

/** The first value above `value` that only reshapes lie between. */
function beforeReshapes(value: Value): Value {
  let source = value;
  while (isReshape(source.producer) && source.producer.inputs[0]) source = source.producer.inputs[0];
  return source;
}

export const reshapeMerging: Pass = {
  name: 'reshape-merging',
  opTypes: reshapeTypes,
  rewrite(node, scope): Rewrite | null {
    const [data] = node.inputs;
    const shape = node.inputs[1];
    if (!data) return null;
    const source = beforeReshapes(data);
    const isComputed = node.opType === 'Reshape' && shape?.producer != null && intAttribute(node, 'allowzero', 0) === 0;
    if (source === data && !isComputed) return null;
    const merged = reshapeInPlaceOf(node, source, scope);
    if (!merged) return null;
    const reason = source === data ? 'the shape that it computes is known' : 'a chain of reshapes is one reshape';
    return { reason, anchor: node, insert: [merged], remove: [node] };
  },
};
