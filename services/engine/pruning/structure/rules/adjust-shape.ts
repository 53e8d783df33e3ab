/** Shapes that are given as operands: Reshape, Expand, ConstantOfShape, Resize. */
import { intsAttribute, type Node } from '../../../ir/index.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import { sizeTokens } from '../size-operand.js';
import type { CutAxis, SurgeryScope } from '../surgery-scope.js';

/** Sizes in the target of a Reshape; -1 and 0 stay where they still say the right thing. */
export function adjustReshape(node: Node, scope: SurgeryScope): void {
  edit(node, 1, scope, (size, axis, { before, after }) => {
    if (size === 0) return scope.axis(scope.input(node, 0), axis).after === after ? 0 : after;
    return size > 0 && after !== before ? after : size;
  });
}

/** A size of 1 says that the other operand's counts. */
export function adjustExpand(node: Node, scope: SurgeryScope): void {
  edit(node, 1, scope, (size, _, { before, after }) => (size === 1 || after === before ? size : after));
}

export function adjustConstantOfShape(node: Node, scope: SurgeryScope): void {
  edit(node, 0, scope, (size, _, { before, after }) => (after === before ? size : after));
}

/** Sizes of the axes that Resize names, all when it names none. */
export function adjustResize(node: Node, scope: SurgeryScope): void {
  const output = scope.output(node, 0);
  const tokens = sizeTokens(node.inputs[3], scope);
  if (!output || !tokens) return;
  const axes = intsAttribute(node, 'axes', undefined)?.map((axis) => normalizeAxis(axis, output.dims.length));
  const changes = new Map<number, number>();
  for (const at of tokens.keys()) {
    const { kept, after } = scope.axis(output, axes?.[at] ?? at);
    if (kept) changes.set(at, after);
  }
  if (changes.size > 0) scope.setOperand(node, 3, changes);
}

type NewSize = (size: number, axis: number, cut: CutAxis) => number;

/** Elements that are constants take what `newSize` says; computed ones follow by themselves. */
function edit(node: Node, index: number, scope: SurgeryScope, newSize: NewSize): void {
  const tokens = sizeTokens(node.inputs[index], scope);
  const output = scope.output(node, 0);
  if (!tokens || !output) return;
  const first = output.dims.length - tokens.length;
  const changes = new Map<number, number>();
  for (const [at, token] of tokens.entries()) {
    if (token.kind !== 'constant') continue;
    const next = newSize(token.size, first + at, scope.axis(output, first + at));
    if (next !== token.size) changes.set(at, next);
  }
  if (changes.size > 0) scope.setOperand(node, index, changes);
}
