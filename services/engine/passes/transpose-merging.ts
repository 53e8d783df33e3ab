/** Transpose merging: consecutive permutations compose; a permutation that only moves axes of size 1 is a reshape. */
import { attributeOf, int64Tensor, type Node, type Value } from '../ir/index.js';
import { axisAttribute, permutation } from './operand-forms.js';
import type { Pass, PassScope } from './pass.js';
import { isReshape, reshapeInPlaceOf, reshapeTarget } from './reshape-merging.js';
import type { Rewrite } from './rewrite.js';
import type { Extent } from './value-facts.js';

/** True when the axes that are longer than 1 keep their order. */
export function movesOnlyUnitAxes(shape: readonly Extent[], perm: readonly number[]): boolean {
  const long = perm.filter((axis) => shape[axis] !== 1);
  return long.every((axis, at) => at === 0 || axis > (long[at - 1] ?? -1));
}

/** y = transpose(transpose(x, p), q)  =>  y = transpose(x, r) with r[i] = p[q[i]]. */
function composed(node: Node, scope: PassScope): Rewrite | null {
  const first = node.inputs[0]?.producer;
  const source = first?.inputs[0];
  const rank = scope.facts.shape(node.inputs[0])?.length;
  if (first?.opType !== 'Transpose' || first.domain !== '' || !source || rank === undefined) return null;
  const inner = permutation(first, rank);
  const perm = permutation(node, rank).map((axis) => inner[axis] ?? axis);
  const merged = scope.editor.replacement(node, { opType: 'Transpose', inputs: [source], attributes: { perm: attributeOf.ints(perm) } });
  return { reason: 'two permutations are one', anchor: node, insert: [merged], remove: [node] };
}

function asReshape(node: Node, scope: PassScope): Rewrite | null {
  const [input] = node.inputs;
  const shape = scope.facts.shape(input);
  if (!input || !shape || !movesOnlyUnitAxes(shape, permutation(node, shape.length))) return null;
  const reshape = reshapeInPlaceOf(node, input, scope);
  if (!reshape) return null;
  return { reason: 'only axes of size 1 move, so the elements keep their order', anchor: node, insert: [reshape], remove: [node] };
}

export const transposeMerging: Pass = {
  name: 'transpose-merging',
  opTypes: ['Transpose'],
  rewrite: (node, scope) => asReshape(node, scope) ?? composed(node, scope),
};

function permuted(shape: readonly Extent[], perm: readonly number[]): readonly Extent[] {
  return perm.map((from) => shape[from] ?? 1);
}

/** Reshape of `value` to a constant target, as a node of its own. */
function reshapeTo(
  value: Value | null,
  target: readonly number[] | null | undefined,
  { editor }: PassScope,
): { node: Node; output: Value }[] {
  if (!value || !target) return [];
  const operand = editor.addConstant(`${value.name}_shape`, int64Tensor([target.length], target));
  return [editor.newNode({ opType: 'Reshape', inputs: [value, operand] }, `${value.name}_reshaped`)];
}

/**
 * transpose(concat(a, b; k), p) = concat(transpose(a, p), transpose(b, p); j) with p[j] = k. Worth it when each operand
 * comes from a reshape and the permutation of an operand is itself a reshape: the transposition disappears.
 */
export const transposeBelowConcat: Pass = {
  name: 'transpose-below-concat',
  opTypes: ['Transpose'],
  rewrite(node, scope): Rewrite | null {
    const concat = scope.editor.soleProducer(node.inputs[0]);
    const shape = scope.facts.shape(node.inputs[0]);
    if (concat?.opType !== 'Concat' || concat.graph !== scope.graph || !shape || scope.opset < 5) return null;
    const perm = permutation(node, shape.length);
    const axis = perm.indexOf(axisAttribute(concat, 1, shape.length));
    const shapes = concat.inputs.map((input) => scope.facts.shape(input));
    if (!concat.inputs.every((input) => isReshape(input?.producer))) return null;
    if (!shapes.every((own) => own && movesOnlyUnitAxes(own, perm) && reshapeTarget(own, permuted(own, perm)))) return null;
    const targets = shapes.map((own) => own && reshapeTarget(own, permuted(own, perm)));
    const operands = concat.inputs.flatMap((input, index) => reshapeTo(input, targets[index], scope));
    const joined = scope.editor.replacement(node, {
      opType: 'Concat',
      inputs: operands.map(({ output }) => output),
      attributes: { axis: attributeOf.int(axis) },
    });
    return {
      reason: 'joining along the permuted axis needs no transposition',
      anchor: node,
      insert: [...operands.map((operand) => operand.node), joined],
      remove: [node],
    };
  },
};
