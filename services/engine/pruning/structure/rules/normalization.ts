/** Normalizations: parameters follow their channels; statistics over the channels make the group approximate. */
import type { Node } from '../../../ir/index.js';
import { join, type Operand } from '../join.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import type { StructureRule } from './rule.js';

/** Inputs 1.. are vectors over axis 1 of input 0. */
export const perChannel: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  if (!data) {
    scope.barrier(node, `${titleOf(node)} has data of unknown shape`);
    return;
  }
  const vectors = node.inputs.flatMap((_, index): Carrier[] => (index > 0 ? given(scope.parameter(node, index)) : []));
  const operands: Operand[] = [
    { carrier: data, places: data.dims.map((_, axis) => axis) },
    ...vectors.map((carrier) => ({ carrier, places: [1] })),
  ];
  const tracks = join(scope, node, data.dims.length, operands);
  markParameters(scope, node, vectors);
  scope.set(node.outputs[0], tracks);
};

function given(carrier: Carrier | undefined): readonly Carrier[] {
  return carrier ? [carrier] : [];
}

function markParameters(scope: StructureScope, node: Node, carriers: readonly Carrier[]): void {
  for (const carrier of carriers) for (const track of scope.tracks(carrier)) scope.mark({ node, role: 'parameter' }, track);
}
