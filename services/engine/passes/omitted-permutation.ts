/** Omitted permutations: the default order of a Transpose is written out where the runtime cannot do without it. */
import { attributeOf } from '../ir/index.js';
import { permutation } from './operand-forms.js';
import type { Pass } from './pass.js';
import type { Rewrite } from './rewrite.js';

/** onnxruntime 1.30 ends the process when it loads a Transpose without `perm` behind a DequantizeLinear with one scale per channel. */
export const omittedPermutation: Pass = {
  name: 'omitted-permutation',
  opTypes: ['Transpose'],
  rewrite(node, { facts, editor }): Rewrite | null {
    const [input] = node.inputs;
    if (node.attributes.has('perm') || input?.producer?.opType !== 'DequantizeLinear') return null;
    const rank = facts.shape(input)?.length;
    if (rank === undefined) return null;
    const attributes = { perm: attributeOf.ints([...permutation(node, rank)]) };
    const written = editor.replacement(node, { opType: 'Transpose', inputs: [input], attributes });
    return { reason: 'the default order, written out', anchor: node, insert: [written], remove: [node] };
  },
};
