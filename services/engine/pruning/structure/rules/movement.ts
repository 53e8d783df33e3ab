/** Operators that move, cut and join elements: the slots move the same way. */
import { elementCount, intAttribute, type Node } from '../../../ir/index.js';
import { axesOperand, permutation } from '../../../passes/operand-forms.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import { reshapedTrack } from '../reshaped-track.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import { placedTrack, type Track } from '../track.js';
import { movable } from './movable.js';
import type { StructureRule } from './rule.js';
import { keepsUp } from './sizes.js';

export const transpose: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const order = permutation(node, carrier.dims.length);
  const places = carrier.dims.map((_, axis) => order.indexOf(axis));
  scope.set(
    node.outputs[0],
    scope.tracks(carrier).map((track) => placedTrack(track, places, places.length)),
  );
};

/** Reshape, Flatten, Squeeze and Unsqueeze: the same elements in the same order. */
function toShape(node: Node, scope: StructureScope, carrier: Carrier, dims: readonly number[] | undefined): void {
  const count = elementCount(carrier.dims);
  const moved = dims && count > 0 && elementCount(dims) === count ? dims : undefined;
  scope.set(node.outputs[0], [], moved);
  for (const track of scope.tracks(carrier)) {
    const result: Track | null = moved ? reshapedTrack(scope, track, carrier.dims, moved) : null;
    if (result) scope.set(node.outputs[0], [result]);
    else scope.freeze(track.slots, `${titleOf(node)} takes their axis apart`);
  }
}

export const reshape: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  const dims = scope.dims(node.outputs[0]);
  if (!carrier) return;
  toShape(node, scope, carrier, dims);
  scope.obligations.push(() => keepsUp(scope, node, 1));
};

export const flatten: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const axis = normalizeAxis(intAttribute(node, 'axis', 1), carrier.dims.length);
  toShape(node, scope, carrier, [elementCount(carrier.dims.slice(0, axis)), elementCount(carrier.dims.slice(axis))]);
};

export const squeeze: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const axes = axesOperand(node, 1, scope.facts);
  const rank = carrier.dims.length;
  const dropped = axes === 'absent' ? undefined : axes?.map((axis) => normalizeAxis(axis, rank));
  toShape(
    node,
    scope,
    carrier,
    dropped ? carrier.dims.filter((_, axis) => !dropped.includes(axis)) : carrier.dims.filter((size) => size > 1),
  );
};

export const unsqueeze: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const axes = axesOperand(node, 1, scope.facts);
  if (!axes || axes === 'absent') {
    scope.barrier(node, `${titleOf(node)} has axes that are not known`);
    return;
  }
  const rank = carrier.dims.length + axes.length;
  const added = axes.map((axis) => normalizeAxis(axis, rank));
  const sizes = [...carrier.dims];
  toShape(
    node,
    scope,
    carrier,
    Array.from({ length: rank }, (_, axis) => (added.includes(axis) ? 1 : (sizes.shift() ?? 1))),
  );
};
