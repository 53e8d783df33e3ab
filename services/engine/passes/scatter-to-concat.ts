/** ScatterND into a box with constant indices is a concatenation: what stays, the updates, what stays. */
import { attributeOf, int64Tensor, type Node, stringAttribute, type Tensor, type Value } from '../ir/index.js';
import { numericValues } from './numeric-tensor.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

export interface Box {
  readonly starts: readonly number[];
  readonly counts: readonly number[];
}

/** The box whose positions `indices` ([..., k]) lists in row-major order, in the first k axes of `dims`; undefined for any other list. */
export function boxOfIndices(indices: Tensor, dims: readonly number[]): Box | undefined {
  const width = indices.dims.at(-1) ?? 0;
  const values = numericValues(indices);
  if (!values || width === 0 || width > dims.length || values.length === 0) return undefined;
  const at = (row: number, axis: number): number => {
    const index = values[row * width + axis] ?? 0;
    return index < 0 ? index + (dims[axis] ?? 0) : index;
  };
  const rows = values.length / width;
  const axes = Array.from({ length: width }, (_, axis) => axis);
  const starts = axes.map((axis) => at(0, axis));
  const counts = axes.map((axis) => at(rows - 1, axis) - at(0, axis) + 1);
  if (counts.some((count) => count < 1) || counts.reduce((product, count) => product * count, 1) !== rows) return undefined;
  for (let row = 0; row < rows; row += 1) {
    let remaining = row;
    for (let axis = width - 1; axis >= 0; axis -= 1) {
      const count = counts[axis] ?? 1;
      if (at(row, axis) !== (starts[axis] ?? 0) + (remaining % count)) return undefined;
      remaining = Math.floor(remaining / count);
    }
  }
  return { starts, counts };
}

/** `value[start:end]` along `axis`, step 1, in the form of the operator set. */
export function sliceNode(
  value: Value,
  range: { axis: number; start: number; end: number },
  scope: PassScope,
): { node: Node; output: Value } {
  const { axis, start, end } = range;
  if (scope.opset < 10) {
    const attributes = { axes: attributeOf.ints([axis]), starts: attributeOf.ints([start]), ends: attributeOf.ints([end]) };
    return scope.editor.newNode({ opType: 'Slice', inputs: [value], attributes }, `${value.name}_slice`);
  }
  const [starts, ends, axes] = [start, end, axis].map((entry, at) =>
    scope.editor.addConstant(`${value.name}_slice_${['starts', 'ends', 'axes'][at]}`, int64Tensor([1], [entry])),
  );
  return scope.editor.newNode({ opType: 'Slice', inputs: [value, starts ?? null, ends ?? null, axes ?? null] }, `${value.name}_slice`);
}

interface Scatter {
  readonly data: Value;
  readonly updates: Value;
  readonly dims: readonly number[];
  /** The one axis that the box does not cover, or undefined when it covers everything. */
  readonly axis: number | undefined;
  readonly box: Box;
}

function scatterIntoBox(node: Node, { facts, opset }: PassScope): Scatter | undefined {
  const [data, indices, updates] = node.inputs;
  const dims = facts.dims(data);
  const tensor = facts.constant(indices);
  const updateDims = facts.dims(updates);
  if (!data || !updates || !dims || !tensor || !updateDims || opset < 11 || stringAttribute(node, 'reduction', 'none') !== 'none')
    return undefined;
  const box = boxOfIndices(tensor, dims);
  if (!box) return undefined;
  const partial = box.counts.flatMap((count, axis) => (count === dims[axis] ? [] : [axis]));
  return partial.length > 1 ? undefined : { data, updates, dims, axis: partial[0], box };
}

/** scatter(x, box at axis a from s to e, u) = concat(x[:s], reshape(u), x[e:]; a). */
export const scatterToConcat: Pass = {
  name: 'scatter-to-concat',
  opTypes: ['ScatterND'],
  rewrite(node, scope): Rewrite | null {
    const scatter = scatterIntoBox(node, scope);
    if (!scatter) return null;
    const { data, updates, dims, axis, box } = scatter;
    const insert: Node[] = [];
    const keep = (made: { node: Node; output: Value }): Value => {
      insert.push(made.node);
      return made.output;
    };
    const count = axis === undefined ? 0 : (box.counts[axis] ?? 0);
    const boxDims = dims.map((size, at) => (at === axis ? count : size));
    const target = scope.editor.addConstant(`${updates.name}_shape`, int64Tensor([dims.length], boxDims));
    const reason = 'the constant indices are a box, so the result is a concatenation';
    if (axis === undefined) {
      const reshape = scope.editor.replacement(node, { opType: 'Reshape', inputs: [updates, target] });
      return { reason, anchor: node, insert: [reshape], remove: [node] };
    }
    const start = box.starts[axis] ?? 0;
    const size = dims[axis] ?? 0;
    const inputs: Value[] = [];
    if (start > 0) inputs.push(keep(sliceNode(data, { axis, start: 0, end: start }, scope)));
    inputs.push(keep(scope.editor.newNode({ opType: 'Reshape', inputs: [updates, target] }, `${updates.name}_box`)));
    if (start + count < size) inputs.push(keep(sliceNode(data, { axis, start: start + count, end: size }, scope)));
    insert.push(scope.editor.replacement(node, { opType: 'Concat', inputs, attributes: { axis: attributeOf.int(axis) } }));
    return { reason, anchor: node, insert, remove: [node] };
  },
};
