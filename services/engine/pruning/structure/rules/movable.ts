/** The operand of an operator that moves elements: a pliant one gets slots for all its axes, so that they can be followed. */
import type { Node } from '../../../ir/index.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';

/** Longer axes of constants are tables whose rows are looked up; nothing is tied to them index by index. */
const FOLLOWED_SIZE_MAX = 2 ** 16;

/** undefined, with everything that the node reads frozen, when the sizes are not known. */
export function movable(node: Node, scope: StructureScope, index: number): Carrier | undefined {
  const carrier = scope.parameter(node, index);
  if (!carrier) {
    scope.barrier(node, `${titleOf(node)} moves values of unknown shape`);
    return undefined;
  }
  if (carrier.isPliant) followAll(scope, node, carrier);
  return carrier;
}

/** Slots for each axis of a pliant carrier. */
export function followAll(scope: StructureScope, node: Node, carrier: Carrier): void {
  for (const [axis, size] of carrier.dims.entries()) {
    if (size > FOLLOWED_SIZE_MAX) scope.pin(carrier, `${titleOf(node)} moves a long table`, [axis]);
    else scope.single(carrier, axis);
  }
}
