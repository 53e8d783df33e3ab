/** Reductions: over other axes the slots pass; over their own axis a sum loses addends, everything else freezes them. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { axesOperand } from '../../../passes/operand-forms.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import { contracted, withoutSpaceAxes } from '../join.js';
import { type StructureScope, titleOf } from '../structure-scope.js';
import { axesOf } from '../track.js';
import { ownAxis } from './own-axis.js';
import type { StructureRule } from './rule.js';

/** Axes that the node reduces; null when they are not known. */
function reducedAxes(node: Node, scope: StructureScope, rank: number): readonly number[] | null {
  const given = axesOperand(node, 1, scope.facts);
  if (given === undefined) return null;
  if (given !== 'absent' && given.length > 0) return given.map((axis) => normalizeAxis(axis, rank));
  return intAttribute(node, 'noop_with_empty_axes', 0) === 1 ? [] : Array.from({ length: rank }, (_, axis) => axis);
}

/**
 * 'sum': an index that goes is an addend less. 'mean': what remains is averaged, so that the result is another one. 'whole': all
 * elements along the axis decide.
 */
export function reduction(kind: 'sum' | 'mean' | 'whole'): StructureRule {
  return (node, scope) => {
    const data = scope.input(node, 0);
    const axes = data && reducedAxes(node, scope, data.dims.length);
    if (!data || !axes) {
      scope.barrier(node, `${titleOf(node)} reduces over axes that are not known`);
      return;
    }
    if (kind === 'whole') scope.pin(data, `${titleOf(node)} needs all of them`, axes);
    let tracks = scope.tracks(data);
    for (const axis of axes) {
      for (const track of tracks.filter((each) => axesOf(each).includes(axis))) {
        if (kind === 'mean') scope.approximates(track.slots, `${titleOf(node)} averages over them`);
        scope.contractions.push({ node, index: 0, axis });
      }
      tracks = contracted(scope, tracks, axis);
    }
    scope.set(node.outputs[0], intAttribute(node, 'keepdims', 1) === 1 ? tracks : withoutSpaceAxes(tracks, axes));
  };
}

/** ArgMax and ArgMin: the index of one of all. */
export const argReduction: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  if (!data) return;
  const axis = ownAxis(node, data.dims.length, 0);
  scope.pin(data, `${titleOf(node)} needs all of them`, [axis]);
  const tracks = scope.tracks(data).filter((track) => !axesOf(track).includes(axis));
  scope.set(node.outputs[0], intAttribute(node, 'keepdims', 1) === 1 ? tracks : withoutSpaceAxes(tracks, [axis]));
};
