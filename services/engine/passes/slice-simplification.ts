/** Slice simplification: slices and gathers of a concatenation or of a slice read the source directly. */
import { attributeOf, int64Tensor, type Node, type Value } from '../ir/index.js';
import { numericValues } from './numeric-tensor.js';
import { axisAttribute, clampSlice, sliceOperands } from './operand-forms.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';
import { sliceNode } from './scatter-to-concat.js';

/** A run of positions on one axis. */
export interface AxisRange {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

/** The range that a Slice with one axis, step 1 and constant operands takes from an axis of known size. */
export function rangeOfSlice(node: Node, { facts }: Pick<PassScope, 'facts'>): AxisRange | undefined {
  if (node.opType !== 'Slice' || node.domain !== '') return undefined;
  const slices = sliceOperands(node, facts);
  const [only] = slices ?? [];
  const size = only && facts.shape(node.inputs[0])?.[only.axis];
  if (!only || slices?.length !== 1 || only.step !== 1 || typeof size !== 'number') return undefined;
  const { start, count } = clampSlice(only, size);
  return { axis: only.axis, start, end: start + count };
}

interface Operand {
  readonly value: Value;
  readonly start: number;
  readonly end: number;
}

/** The operands of a Concat with the positions that they take on its axis; undefined when a size is unknown. */
function concatOperands(node: Node, { facts }: PassScope): { axis: number; operands: Operand[] } | undefined {
  const rank = facts.shape(node.outputs[0])?.length;
  if (node.opType !== 'Concat' || node.domain !== '' || rank === undefined) return undefined;
  const axis = axisAttribute(node, 1, rank);
  const operands: Operand[] = [];
  let start = 0;
  for (const value of node.inputs) {
    const size = facts.shape(value)?.[axis];
    if (!value || typeof size !== 'number') return undefined;
    operands.push({ value, start, end: start + size });
    start += size;
  }
  return { axis, operands };
}

function sliceOfConcat(node: Node, scope: PassScope): Rewrite | null {
  const range = rangeOfSlice(node, scope);
  const source = node.inputs[0]?.producer;
  const joined = source && concatOperands(source, scope);
  const [output] = node.outputs;
  if (!range || !joined || joined.axis !== range.axis || !output || range.start === range.end) return null;
  const touched = joined.operands.filter((operand) => operand.start < range.end && operand.end > range.start);
  const [first] = touched;
  const reason = 'takes whole operands of a concatenation, or a part of one';
  if (!first) return null;
  if (touched.length === 1) {
    const start = range.start - first.start;
    if (start === 0 && range.end === first.end) {
      if (!scope.editor.canRedirect(output, first.value)) return null;
      return { reason, anchor: node, redirect: [[output, first.value]], remove: [node] };
    }
    const part = sliceNode(first.value, { axis: range.axis, start, end: range.end - first.start }, scope);
    return { reason, anchor: node, insert: [part.node], redirect: [[output, part.output]], remove: [node] };
  }
  if (first.start !== range.start || touched.at(-1)?.end !== range.end) return null;
  const inputs = touched.map((operand) => operand.value);
  const concat = scope.editor.replacement(node, { opType: 'Concat', inputs, attributes: { axis: attributeOf.int(range.axis) } });
  return { reason, anchor: node, insert: [concat], remove: [node] };
}

function sliceOfSlice(node: Node, scope: PassScope): Rewrite | null {
  const source = node.inputs[0]?.producer;
  const data = source?.inputs[0];
  const range = rangeOfSlice(node, scope);
  const inner = source && rangeOfSlice(source, scope);
  const [output] = node.outputs;
  if (!data || !range || !inner || range.axis !== inner.axis || !output) return null;
  const part = sliceNode(data, { axis: range.axis, start: inner.start + range.start, end: inner.start + range.end }, scope);
  return {
    reason: 'a slice of a slice is one slice',
    anchor: node,
    insert: [part.node],
    redirect: [[output, part.output]],
    remove: [node],
  };
}

export const sliceSimplification: Pass = {
  name: 'slice-simplification',
  opTypes: ['Slice'],
  rewrite: (node, scope) => sliceOfConcat(node, scope) ?? sliceOfSlice(node, scope),
};

/** gather(concat(a, b), i) reads the operand that holds position i; likewise through a slice. */
export const gatherSimplification: Pass = {
  name: 'gather-simplification',
  opTypes: ['Gather'],
  rewrite(node, scope): Rewrite | null {
    const [data, indices] = node.inputs;
    const tensor = scope.facts.constant(indices);
    const positions = tensor && numericValues(tensor);
    const shape = scope.facts.shape(data);
    const source = data?.producer;
    if (!tensor || positions?.length !== 1 || !shape || !source) return null;
    const axis = axisAttribute(node, 0, shape.length);
    const size = shape[axis];
    if (typeof size !== 'number') return null;
    const raw = positions[0] ?? 0;
    const found = locate(source, { axis, position: raw < 0 ? raw + size : raw }, scope);
    if (!found) return null;
    const index = scope.editor.addConstant(`${node.outputs[0]?.name}_index`, int64Tensor(tensor.dims, [found.position]));
    const gather = scope.editor.replacement(node, {
      opType: 'Gather',
      inputs: [found.value, index],
      attributes: { axis: attributeOf.int(axis) },
    });
    return { reason: 'the element lies in one operand of the source', anchor: node, insert: [gather], remove: [node] };
  },
};

function locate(
  source: Node,
  { axis, position }: { axis: number; position: number },
  scope: PassScope,
): { value: Value; position: number } | undefined {
  const joined = concatOperands(source, scope);
  if (joined?.axis === axis) {
    const operand = joined.operands.find(({ start, end }) => position >= start && position < end);
    return operand && { value: operand.value, position: position - operand.start };
  }
  const range = rangeOfSlice(source, scope);
  const [data] = source.inputs;
  return range?.axis === axis && data ? { value: data, position: position + range.start } : undefined;
}
