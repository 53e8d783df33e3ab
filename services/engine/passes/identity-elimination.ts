/** Identity elimination: removes operators that return their input unchanged. */
import { dataTypeFromCode, elementCount, intAttribute, intsAttribute, type Node, type Tensor, type Value } from '../ir/index.js';
import { numericValues } from './numeric-tensor.js';
import { permutation } from './operand-forms.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

/** Constants longer than this are not searched for ones and zeros: a network does not multiply by a large tensor of ones. */
const scannedElementsMax = 65_536;

function isFilledWith(tensor: Tensor | undefined, wanted: number): boolean {
  if (!tensor || elementCount(tensor.dims) > scannedElementsMax) return false;
  return numericValues(tensor)?.every((value) => value === wanted) ?? false;
}

function sameShape(left: Value | null | undefined, right: Value | null | undefined, scope: PassScope): boolean {
  const [a, b] = [scope.facts.shape(left), scope.facts.shape(right)];
  return a !== null && b !== null && a.length === b.length && a.every((size, axis) => size === b[axis]);
}

/** `x op constant` that returns x: the constant is neutral and neither widens the shape nor changes the type. */
function neutralOperand(node: Node, scope: PassScope): Value | undefined {
  const neutral = node.opType === 'Add' || node.opType === 'Sub' ? 0 : 1;
  const commutes = node.opType === 'Add' || node.opType === 'Mul';
  const [left, right] = node.inputs;
  const candidates = commutes ? [[left, right] as const, [right, left] as const] : [[left, right] as const];
  for (const [kept, other] of candidates) {
    if (!kept || !other || !isFilledWith(scope.facts.constant(other), neutral)) continue;
    if (!sameShape(kept, node.outputs[0], scope)) continue;
    // Pow alone may have an exponent of another type; the result has the type of the base.
    if (node.opType === 'Pow' || scope.facts.fact(kept).dataType === scope.facts.fact(other).dataType) return kept;
  }
  return undefined;
}

function dropoutInput(node: Node, scope: PassScope): Value | null | undefined {
  const mask = node.outputs[1];
  if (mask && scope.editor.isLive(mask)) return undefined;
  if (scope.opset < 7) return intAttribute(node, 'is_test', 0) === 1 ? node.inputs[0] : undefined;
  const training = node.inputs[2];
  if (scope.opset < 12 || !training) return node.inputs[0];
  return isFilledWith(scope.facts.constant(training), 0) ? node.inputs[0] : undefined;
}

function castInput(node: Node, scope: PassScope): Value | null | undefined {
  const to = dataTypeFromCode(intAttribute(node, 'to', 0));
  return to !== undefined && scope.facts.fact(node.inputs[0]).dataType === to ? node.inputs[0] : undefined;
}

function padInput(node: Node, scope: PassScope): Value | null | undefined {
  const pads = intsAttribute(node, 'pads', undefined) ?? scope.facts.integers(node.inputs[1]);
  return pads?.every((pad) => pad === 0) ? node.inputs[0] : undefined;
}

function transposeInput(node: Node, scope: PassScope): Value | null | undefined {
  const rank = scope.facts.shape(node.inputs[0])?.length;
  if (rank === undefined) return undefined;
  return permutation(node, rank).every((axis, at) => axis === at) ? node.inputs[0] : undefined;
}

/** Reshape and its kin keep the order of the elements, Slice and Expand keep all of them when the shape is the same. */
function unchangedShapeInput(node: Node, scope: PassScope): Value | null | undefined {
  return sameShape(node.inputs[0], node.outputs[0], scope) ? node.inputs[0] : undefined;
}

function sliceInput(node: Node, scope: PassScope): Value | null | undefined {
  const steps = node.inputs[4] ? scope.facts.integers(node.inputs[4]) : [1];
  return steps?.every((step) => step === 1) ? unchangedShapeInput(node, scope) : undefined;
}

type SameInput = (node: Node, scope: PassScope) => Value | null | undefined;

const soleInput: SameInput = (node) => (node.inputs.length === 1 ? node.inputs[0] : undefined);

const rules: Readonly<Record<string, { readonly reason: string; readonly input: SameInput }>> = {
  Identity: { reason: 'returns its input', input: (node) => node.inputs[0] },
  Dropout: { reason: 'dropout does nothing at inference', input: dropoutInput },
  Cast: { reason: 'the input already has the type that is cast to', input: castInput },
  Transpose: { reason: 'the permutation leaves every axis in place', input: transposeInput },
  Pad: { reason: 'pads by nothing', input: padInput },
  Reshape: { reason: 'the input already has this shape', input: unchangedShapeInput },
  Flatten: { reason: 'the input already has this shape', input: unchangedShapeInput },
  Squeeze: { reason: 'the input already has this shape', input: unchangedShapeInput },
  Unsqueeze: { reason: 'the input already has this shape', input: unchangedShapeInput },
  Expand: { reason: 'the input already has this shape', input: unchangedShapeInput },
  Slice: { reason: 'takes every element', input: sliceInput },
  Concat: { reason: 'joins a single tensor', input: soleInput },
  Sum: { reason: 'adds up a single tensor', input: soleInput },
  Max: { reason: 'the maximum of a single tensor', input: soleInput },
  Min: { reason: 'the minimum of a single tensor', input: soleInput },
  Mean: { reason: 'the mean of a single tensor', input: soleInput },
  Add: { reason: 'adds zero', input: neutralOperand },
  Sub: { reason: 'subtracts zero', input: neutralOperand },
  Mul: { reason: 'multiplies by one', input: neutralOperand },
  Div: { reason: 'divides by one', input: neutralOperand },
  Pow: { reason: 'raises to the power of one', input: neutralOperand },
};

export const identityElimination: Pass = {
  name: 'identity-elimination',
  opTypes: Object.keys(rules),
  rewrite(node, scope): Rewrite | null {
    const rule = rules[node.opType];
    const output = node.outputs[0];
    const input = rule?.input(node, scope);
    if (!rule || !input || !output || !scope.editor.isLive(output) || !scope.editor.canRedirect(output, input)) return null;
    return { reason: rule.reason, anchor: node, redirect: [[output, input]], remove: [node] };
  },
};
