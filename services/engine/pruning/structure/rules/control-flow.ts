/** If, Loop, Scan: bodies are walked like the model itself; what enters and leaves a loop keeps its size. */
import { elementCount, graphAttribute } from '../../../ir/index.js';
import { join, trailing } from '../join.js';
import { reshapedTrack } from '../reshaped-track.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import type { StructureRule } from './rule.js';

/**
 * Both branches make the same outputs: what meets goes together. A branch that was not taken may return another shape of as many
 * elements, as where an axis is squeezed only when it can be: the shape that was observed counts.
 */
export const conditional: StructureRule = (node, scope) => {
  const branches = ['then_branch', 'else_branch'].flatMap((name) => graphAttribute(node, name) ?? []);
  for (const branch of branches) scope.walk(branch);
  for (const [at, output] of node.outputs.entries()) {
    const carriers = branches.flatMap(({ outputs }) => (outputs[at] ? (scope.carrier(outputs[at]) ?? []) : []));
    // In a branch that was not taken, any of the shapes will do for a value that is only handed on.
    const dims = scope.dims(output) ?? (output?.isRead ? undefined : carriers[0]?.dims);
    const operands = dims ? carriers.flatMap((carrier) => inShape(scope, carrier, dims) ?? []) : [];
    if (dims && operands.length === 2) {
      const tracks = operands.map((carrier) => trailing(carrier, dims.length));
      scope.set(output, join(scope, node, dims.length, tracks), dims);
    } else for (const carrier of carriers) scope.pin(carrier, `${titleOf(node)} returns them in one of two shapes`);
  }
};

/** The carrier as if it had these dims; null when it cannot. */
function inShape(scope: StructureScope, carrier: Carrier, dims: readonly number[]): Carrier | null {
  if (carrier.dims.join() === dims.join()) return carrier;
  if (carrier.isPliant || elementCount(carrier.dims) !== elementCount(dims) || elementCount(dims) === 0) return null;
  const tracks = scope.tracks(carrier).map((track) => reshapedTrack(scope, track, carrier.dims, dims));
  const whole = tracks.filter((track) => track !== null);
  return whole.length === tracks.length ? { ...carrier, dims, tracks: whole } : null;
}

/** Loop, Scan, SequenceMap. */
export const loop: StructureRule = (node, scope) => {
  const why = `${titleOf(node)} carries them`;
  for (const index of node.inputs.keys()) scope.pin(scope.parameter(node, index), why);
  for (const body of node.subgraphs) {
    scope.walk(body);
    for (const output of body.outputs) scope.pin(scope.carrier(output), why);
  }
};
