/** Concat: lists of slots behind each other; along the other axes what meets goes together. */
import { axisAttribute } from '../../../passes/operand-forms.js';
import { join, withoutSpaceAxes } from '../join.js';
import { FIXED } from '../slot-classes.js';
import { joined, placed, type SlotTensor, spread, withoutAxes } from '../slot-tensor.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import { axesOf, settled, type Track } from '../track.js';
import { movable } from './movable.js';
import type { StructureRule } from './rule.js';

/** Each input has the axis in a place of its own, behind the axes that all share: [axes..., axis of input 0, axis of input 1, ...]. */
export const concat: StructureRule = (node, scope) => {
  const carriers = node.inputs.map((_, index) => movable(node, scope, index));
  const rank = carriers[0]?.dims.length ?? 0;
  if (!carriers.every((carrier): carrier is Carrier => carrier?.dims.length === rank)) {
    scope.barrier(node, `${titleOf(node)} joins values of unknown shape`);
    return;
  }
  const axis = axisAttribute(node, 1, rank);
  const operands = carriers.map((carrier, at) => ({ carrier, places: carrier.dims.map((_, own) => (own === axis ? rank + at : own)) }));
  const tracks = join(scope, node, rank + carriers.length, operands);
  const own = carriers.map((_, at) => rank + at);
  const across = tracks.filter((track) => !own.includes(track.axis)).map((track) => everywhere(scope, track, own));
  const pieces = carriers.map(({ dims }, at) => ({ size: dims[axis] ?? 1, track: tracks.find((track) => track.axis === rank + at) }));
  const along = pieces.some(({ track }) => track) ? [chain(scope, pieces, { axis, rank })] : [];
  scope.set(node.outputs[0], [...withoutSpaceAxes(across, own), ...along]);
};

/** What goes along another axis goes at each position of the joined one. */
function everywhere(scope: StructureScope, track: Track, own: readonly number[]): Track {
  for (const axis of own) if (axesOf(track).includes(axis)) scope.uniteAlong(track.slots, axis);
  return settled(track, scope.classes);
}

interface Piece {
  readonly size: number;
  /** In the space; absent for an input whose indices never go. */
  readonly track: Track | undefined;
}

/** Rows stay rows only when all inputs have the same. */
function chain(scope: StructureScope, pieces: readonly Piece[], { axis, rank }: { axis: number; rank: number }): Track {
  const rows = pieces[0]?.track?.rows ?? [];
  const isAlike = pieces.every(({ track }) => (track?.rows ?? []).join() === rows.join());
  const lists = pieces.map(({ size, track }): SlotTensor => {
    if (!track) return { dims: Array.from({ length: rank }, (_, at) => (at === axis ? size : 1)), ids: new Int32Array(size).fill(FIXED) };
    if (!isAlike) for (const row of track.rows) scope.uniteAlong(track.slots, row);
    return inPlace(settled(track, scope.classes), axis, rank);
  });
  const common = (at: number): number => Math.max(...lists.map(({ dims }) => dims[at] ?? 1));
  const full = lists.map((list) =>
    spread(
      list,
      list.dims.map((size, at) => (at === axis ? size : common(at))),
    ),
  );
  return { axis, rows: isAlike ? rows : [], slots: joined(full, axis) };
}

/** The slots of a piece without the space: its own axis stands where the joined one does. */
function inPlace({ axis: own, slots }: Track, axis: number, rank: number): SlotTensor {
  const places = slots.dims.map((_, at) => (at === own ? axis : at === axis ? own : at));
  const swapped = placed(slots, places, places.length);
  return withoutAxes(
    swapped,
    places.map((_, at) => at).filter((at) => at >= rank),
  );
}
