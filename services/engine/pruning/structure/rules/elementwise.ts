/** Operators that combine elements at the same place: what meets goes together. */
import type { Node } from '../../../ir/index.js';
import { join, trailing } from '../join.js';
import { type Carrier, isScalar, type StructureScope, titleOf } from '../structure-scope.js';
import { followAll } from './movable.js';
import type { StructureRule } from './rule.js';

/** Inputs of a node that are given; null when the sizes of one are unknown. */
function operands(node: Node, scope: StructureScope): Carrier[] | null {
  const given = node.inputs.flatMap((input, index) => (input ? [scope.parameter(node, index)] : []));
  return given.every((carrier) => carrier !== undefined) ? given : null;
}

/** Any number of operands with numpy broadcasting; all outputs have the shape of the result. */
export const elementwise: StructureRule = (node, scope) => {
  const carriers = operands(node, scope);
  if (!carriers) {
    scope.barrier(node, `${titleOf(node)} combines them with values of unknown shape`);
    return;
  }
  const rank = Math.max(0, ...carriers.map(({ dims }) => dims.length));
  // Nobody leads: what is computed of constants takes slots further down.
  if (carriers.every(({ isPliant }) => isPliant)) for (const carrier of carriers) followAll(scope, node, carrier);
  const tracks = join(
    scope,
    node,
    rank,
    carriers.filter((carrier) => !isScalar(carrier)).map((carrier) => trailing(carrier, rank)),
  );
  const dims = Array.from({ length: rank }, (_, axis) => Math.max(...carriers.map((carrier) => carrier.dims.at(axis - rank) ?? 1)));
  for (const output of node.outputs) scope.set(output, tracks, dims);
};

/** The first input keeps its slots, the others are single numbers or settings. */
function pass(node: Node, scope: StructureScope, keepsShape: boolean): void {
  const carrier = scope.input(node, 0);
  for (const index of node.inputs.keys()) if (index > 0) scope.pin(scope.parameter(node, index), `${titleOf(node)} reads them as settings`);
  if (!carrier) return;
  for (const output of node.outputs) scope.set(output, scope.tracks(carrier), keepsShape ? carrier.dims : undefined);
}

export const passing: StructureRule = (node, scope) => pass(node, scope, true);

/** Along these axes, null for any, the elements depend on each other; the others pass. */
export function passingExcept(axesOf: (node: Node, rank: number) => readonly number[] | null, what: string): StructureRule {
  return (node, scope) => {
    const carrier = scope.input(node, 0);
    const axes = carrier && axesOf(node, carrier.dims.length);
    if (axes) scope.pin(carrier, `${titleOf(node)} ${what}`, axes);
    else scope.barrier(node, `${titleOf(node)} ${what}`);
    pass(node, scope, false);
  };
}
