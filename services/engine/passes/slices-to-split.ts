/** Slices that cut an axis into consecutive parts are one Split. */
import { attributeOf, int64Tensor, type Node, type Value } from '../ir/index.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';
import { type AxisRange, rangeOfSlice } from './slice-simplification.js';

interface Part {
  readonly node: Node;
  readonly range: AxisRange;
}

/** The slices of `data` along `axis`, one per range, in order of position; undefined unless they cut the axis without gap or overlap. */
function partsOf(data: Value, { axis, size }: { axis: number; size: number }, scope: PassScope): Part[] | undefined {
  const parts = data.consumers
    .filter((reader) => reader.graph === scope.graph && reader.inputs[0] === data)
    .flatMap((node) => {
      const range = rangeOfSlice(node, scope);
      return range?.axis === axis && range.end > range.start ? [{ node, range }] : [];
    })
    .sort((left, right) => left.range.start - right.range.start);
  const isCut = parts.every(({ range }, at) => range.start === (at === 0 ? 0 : parts[at - 1]?.range.end));
  return parts.length > 1 && isCut && parts.at(-1)?.range.end === size ? parts : undefined;
}

export const slicesToSplit: Pass = {
  name: 'slices-to-split',
  opTypes: ['Slice'],
  rewrite(node, scope): Rewrite | null {
    const [data] = node.inputs;
    const range = rangeOfSlice(node, scope);
    const size = range && scope.facts.shape(data)?.[range.axis];
    if (!data || !range || typeof size !== 'number' || scope.opset < 2) return null;
    const parts = partsOf(data, { axis: range.axis, size }, scope);
    const first = parts && scope.graph.nodes.find((candidate) => parts.some((part) => part.node === candidate));
    // One visit is enough: the slice that comes first stands for all.
    if (!parts || first !== node) return null;
    const sizes = parts.map((part) => part.range.end - part.range.start);
    const outputs = parts.map((part) => part.node.outputs[0] ?? null);
    const axis = attributeOf.int(range.axis);
    const split = scope.editor.replacementOf(
      parts.map((part) => part.node),
      {
        opType: 'Split',
        inputs: scope.opset >= 13 ? [data, scope.editor.addConstant(`${data.name}_split`, int64Tensor([sizes.length], sizes))] : [data],
        attributes: scope.opset >= 13 ? { axis } : { axis, split: attributeOf.ints(sizes) },
        outputs,
      },
    );
    return {
      reason: 'the slices cut the axis into consecutive parts',
      anchor: node,
      insert: [split],
      remove: parts.map((part) => part.node),
    };
  },
};
