/** unsqueeze(gather(x, i)) of one element of a vector is gather(x, [i]): exporters write it for every computed shape. */
import { attributeOf, int64Tensor } from '../ir/index.js';
import { axesOperand } from './operand-forms.js';
import type { Pass } from './pass.js';
import type { Rewrite } from './rewrite.js';

export const gatherUnsqueezeMerging: Pass = {
  name: 'gather-unsqueeze-merging',
  opTypes: ['Unsqueeze'],
  rewrite(node, scope): Rewrite | null {
    const gather = node.inputs[0]?.producer;
    const [data, index] = gather?.inputs ?? [];
    if (gather?.opType !== 'Gather' || gather.domain !== '' || !data || scope.facts.shape(data)?.length !== 1) return null;
    const position = scope.facts.integers(index);
    const axes = axesOperand(node, 1, scope.facts);
    if (!position || scope.facts.shape(index)?.length !== 0 || axes === 'absent' || axes?.length !== 1) return null;
    const indices = scope.editor.addConstant(`${node.outputs[0]?.name}_index`, int64Tensor([1], position));
    const merged = scope.editor.replacement(node, { opType: 'Gather', inputs: [data, indices], attributes: { axis: attributeOf.int(0) } });
    return { reason: 'gathering a vector of one element needs no unsqueeze', anchor: node, insert: [merged], remove: [node] };
  },
};
