/** Shapes that are given as constants. */
import { integerValues, type Node } from '../../../ir/index.js';
import type { SurgeryScope } from '../surgery-scope.js';

/** Sizes in the target of a Reshape; -1 and 0 stay where they still say the right thing. */
export function adjustReshape(node: Node, scope: SurgeryScope): void {
  const output = node.outputs[0];
  const constant = scope.store.constant(node.inputs[1]);
  if (!output || !constant) return;
  const target = integerValues(constant.tensor);
  const changed = new Map(scope.changedAxes(output).map(({ axis, after }) => [axis, after]));
  const next = target.map((size, axis) => {
    const after = changed.get(axis);
    if (size === 0) return scope.newSize(node.inputs[0], axis) === after ? 0 : (after ?? size);
    return size > 0 && after !== undefined ? after : size;
  });
  if (next.some((size, axis) => size !== target[axis])) scope.setIntegers(node, 1, next);
}
