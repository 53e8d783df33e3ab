/** If, Loop, Scan: bodies are walked like the model itself; what enters and leaves a loop keeps its size. */
import { graphAttribute } from '../../../ir/index.js';
import { join, trailing } from '../join.js';
import { titleOf } from '../structure-scope.js';
import type { StructureRule } from './rule.js';

/** Both branches make the same outputs: what meets goes together. */
export const conditional: StructureRule = (node, scope) => {
  const branches = ['then_branch', 'else_branch'].flatMap((name) => graphAttribute(node, name) ?? []);
  for (const branch of branches) scope.walk(branch);
  for (const [at, output] of node.outputs.entries()) {
    const carriers = branches.flatMap(({ outputs }) => (outputs[at] ? (scope.carrier(outputs[at]) ?? []) : []));
    const [first, second] = carriers;
    if (first && first.dims.join() === second?.dims.join()) {
      const operands = carriers.map((carrier) => trailing(carrier, first.dims.length));
      scope.set(output, join(scope, node, first.dims.length, operands));
    } else for (const carrier of carriers) scope.pin(carrier, `${titleOf(node)} returns them in one of two shapes`);
  }
};

/** Loop, Scan, SequenceMap. */
export const loop: StructureRule = (node, scope) => {
  const why = `${titleOf(node)} carries them`;
  for (const index of node.inputs.keys()) scope.pin(scope.parameter(node, index), why);
  for (const body of node.subgraphs) {
    scope.walk(body);
    for (const output of body.outputs) scope.pin(scope.carrier(output), why);
  }
};
