/** Pad with zeros on spatial axes folds into the padding of the convolution that follows. */
import { attributeOf, floatAttribute, intsAttribute, type Node, stringAttribute, type Value } from '../ir/index.js';
import { numericValues } from './numeric-tensor.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

/** The pads of a constant zero Pad, begins then ends, when only spatial axes are padded and none is cut. */
function spatialZeroPads(node: Node, rank: number, scope: PassScope): readonly number[] | undefined {
  if (stringAttribute(node, 'mode', 'constant') !== 'constant' || node.inputs[3]) return undefined;
  const [, , value] = node.inputs;
  const constant = value ? scope.facts.constant(value) : undefined;
  const fill = value ? constant && Array.from(numericValues(constant) ?? [Number.NaN])[0] : floatAttribute(node, 'value', 0);
  const pads = intsAttribute(node, 'pads', undefined) ?? scope.facts.integers(node.inputs[1]);
  if (fill !== 0 || pads?.length !== 2 * rank || pads.some((pad) => pad < 0)) return undefined;
  return [0, 1, rank, rank + 1].every((at) => pads[at] === 0) ? [...pads.slice(2, rank), ...pads.slice(rank + 2)] : undefined;
}

export const padFolding: Pass = {
  name: 'pad-folding',
  opTypes: ['Conv'],
  rewrite(node, scope): Rewrite | null {
    const pad = scope.editor.soleProducer(node.inputs[0]);
    const rank = scope.facts.shape(node.inputs[0])?.length;
    const source: Value | null | undefined = pad?.inputs[0];
    if (pad?.opType !== 'Pad' || pad.domain !== '' || pad.graph !== scope.graph || !source || rank === undefined) return null;
    if (stringAttribute(node, 'auto_pad', 'NOTSET') !== 'NOTSET') return null;
    const extra = spatialZeroPads(pad, rank, scope);
    if (!extra) return null;
    const own = intsAttribute(node, 'pads', undefined) ?? extra.map(() => 0);
    const attributes = new Map(node.attributes).set('pads', attributeOf.ints(own.map((size, at) => size + (extra[at] ?? 0))));
    const conv: Node = scope.editor.replacement(node, { opType: 'Conv', inputs: [source, ...node.inputs.slice(1)], attributes });
    return { reason: 'the convolution pads with zeros itself', anchor: node, insert: [conv], remove: [pad], replaced: [node] };
  },
};
