/** Gather of every position of an axis in order is a reshape. */

import { numericValues } from './numeric-tensor.js';
import { axisAttribute } from './operand-forms.js';
import type { Pass } from './pass.js';
import { reshapeInPlaceOf } from './reshape-merging.js';
import type { Rewrite } from './rewrite.js';

export const gatherToReshape: Pass = {
  name: 'gather-to-reshape',
  opTypes: ['Gather'],
  rewrite(node, scope): Rewrite | null {
    const [data, indices] = node.inputs;
    const shape = scope.facts.shape(data);
    const tensor = scope.facts.constant(indices);
    const positions = tensor && numericValues(tensor);
    if (!data || !shape || !positions) return null;
    const size = shape[axisAttribute(node, 0, shape.length)];
    if (positions.length !== size || !Array.from(positions).every((position, at) => position === at || position + positions.length === at))
      return null;
    const reshape = reshapeInPlaceOf(node, data, scope);
    return reshape ? { reason: 'takes every position in order', anchor: node, insert: [reshape], remove: [node] } : null;
  },
};
