/** Attributes that count channels, units or heads. */
import { attributeOf, intAttribute, type Node } from '../../../ir/index.js';
import type { SurgeryScope } from '../surgery-scope.js';
import { projectionSizes } from './attention.js';

/** With one input per group, as many groups as inputs remain; otherwise all groups stay, each with fewer channels. */
export function adjustGroup(node: Node, scope: SurgeryScope): void {
  const group = intAttribute(node, 'group', 1);
  const { before, kept, after } = scope.axis(scope.input(node, 0), 1);
  if (kept && group > 1 && before === group) node.attributes.set('group', attributeOf.int(after));
}

export function adjustHiddenSize(node: Node, scope: SurgeryScope): void {
  const { kept, after } = scope.axis(scope.input(node, 2), 2);
  if (kept) node.attributes.set('hidden_size', attributeOf.int(after));
}

/** As many groups as something remains of. */
export function adjustNormalizationGroups(node: Node, scope: SurgeryScope): void {
  const { before, kept } = scope.axis(scope.input(node, 0), 1);
  if (!kept?.[0]) return;
  const size = before / intAttribute(node, 'num_groups', 1);
  node.attributes.set('num_groups', attributeOf.int(new Set(kept[0].map((index) => Math.floor(index / size))).size));
}

/** Heads whose elements stand on an axis of input `index`. */
function scaleHeads(node: Node, name: string, scope: SurgeryScope, index: number): void {
  const heads = intAttribute(node, name, 0);
  const input = scope.input(node, index);
  const { before, kept, after } = scope.axis(input, input?.dims.length === 4 ? 1 : 2);
  if (heads > 0 && kept) node.attributes.set(name, attributeOf.int((heads * after) / before));
}

export function adjustAttention(node: Node, scope: SurgeryScope): void {
  scaleHeads(node, 'q_num_heads', scope, 0);
  scaleHeads(node, 'kv_num_heads', scope, 1);
}

export function adjustHeads(node: Node, scope: SurgeryScope): void {
  scaleHeads(node, 'num_heads', scope, 0);
  scaleHeads(node, 'kv_num_heads', scope, 1);
}

/** com.microsoft Attention: the heads stand in its weight, queries, keys and values behind each other. */
export function adjustProjectingAttention(node: Node, scope: SurgeryScope): void {
  const { before, kept, after } = scope.axis(scope.input(node, 1), 1);
  if (!kept) return;
  // Each of the three loses the same share, that of the heads.
  const left = (count: number): number => Math.round((count * after) / before);
  const sizes = projectionSizes(node, before);
  node.attributes.set('num_heads', attributeOf.int(left(intAttribute(node, 'num_heads', 1))));
  if (node.attributes.has('qkv_hidden_sizes')) node.attributes.set('qkv_hidden_sizes', attributeOf.ints(sizes.map(left)));
}
