/** Operators as an elementwise product in a space of axes, summed over some of them: what they tie, and what is left. */
import { elementCount, type Node } from '../../ir/index.js';
import { withoutAxes } from './slot-tensor.js';
import { type Carrier, type StructureScope, titleOf } from './structure-scope.js';
import { axesOf, placedTrack, settled, type Track } from './track.js';

/** An operand in the space of a node. */
export interface Operand {
  readonly carrier: Carrier;
  /** The axis of the space for each axis of the operand; null for one that has no place in it and must keep its size. */
  readonly places: readonly (number | null)[];
}

/** numpy broadcasting: the last axis is the last of the space. */
export function trailing(carrier: Carrier, rank: number): Operand {
  return { carrier, places: carrier.dims.map((_, axis) => axis + rank - carrier.dims.length) };
}

interface Placed {
  readonly carrier: Carrier;
  readonly places: readonly number[];
  /** In the space. */
  readonly tracks: Track[];
  size(axis: number): number;
}

/**
 * Ties operands that are combined element by element, sizes of 1 repeating, in a space of `rank` axes: what is the same index becomes
 * one class. Pliant operands get slots where a partner has some. Returns the tracks of the result.
 */
export function join(scope: StructureScope, node: Node, rank: number, operands: readonly Operand[]): Track[] {
  const why = `${titleOf(node)} combines them with channels that stay`;
  const placed = operands.map((operand) => inSpace(scope, operand, rank, why));
  const result = components(placed.flatMap(({ tracks }) => tracks)).flatMap((tracks) => {
    const track = tie(scope, tracks, placed, why);
    return track ? [track] : [];
  });
  const tied = new Set(result.flatMap(axesOf));
  for (const { carrier, places } of placed) {
    const idle = carrier.dims.flatMap((size, axis) => (size > 1 && !tied.has(places[axis] ?? -1) ? [axis] : []));
    if (carrier.isPliant) scope.pin(carrier, why, idle);
  }
  return result;
}

function inSpace(scope: StructureScope, { carrier, places }: Operand, rank: number, why: string): Placed {
  const outside = places.flatMap((place, axis) => (place === null ? [axis] : []));
  if (outside.length > 0) scope.pin(carrier, why, outside);
  // Axes outside get places behind the space while tracks are moved, and no track has them.
  const everywhere = places.map((place, axis) => place ?? rank + outside.indexOf(axis));
  const inside = scope.tracks(carrier).filter((track) => axesOf(track).every((axis) => !outside.includes(axis)));
  return {
    carrier,
    places: everywhere,
    tracks: inside.map((track) => placedTrack(track, everywhere, rank)),
    size: (axis) => carrier.dims[everywhere.indexOf(axis)] ?? 1,
  };
}

/** Tracks along one axis, and those that have this axis among their rows, belong together. */
function components(tracks: readonly Track[]): Track[][] {
  const found: Track[][] = [];
  for (const track of tracks) {
    const meets = (other: Track): boolean =>
      other.axis === track.axis || other.rows.includes(track.axis) || track.rows.includes(other.axis);
    const touching = found.filter((component) => component.some(meets));
    for (const component of touching) found.splice(found.indexOf(component), 1);
    found.push([...touching.flat(), track]);
  }
  return found;
}

/** Makes one track of several; null when the operands agree on none. */
function tie(scope: StructureScope, tracks: readonly Track[], placed: readonly Placed[], why: string): Track | null {
  const axis = tracks.map((track) => track.axis).find((each) => tracks.every((track) => axesOf(track).includes(each)));
  const [first] = tracks;
  if (axis === undefined || !first) {
    for (const { slots } of tracks) scope.freeze(slots, why);
    return null;
  }
  for (const { slots } of tracks.slice(1)) scope.unite(first.slots, slots, why);
  const lead = tracks.filter((track) => track.axis === axis).sort((a, b) => a.rows.length - b.rows.length)[0] ?? first;
  for (const operand of placed) {
    if (operand.size(axis) === 1 || operand.tracks.some((track) => tracks.includes(track))) continue;
    if (operand.carrier.isPliant) follow(scope, operand, lead);
    else scope.freeze(lead.slots, why);
  }
  return settled(lead, scope.classes);
}

/** A pliant operand goes with its partner, where it has the axes. Its slots are its own: they say whose slices they are. */
function follow(scope: StructureScope, { carrier, places, size }: Placed, lead: Track): void {
  for (const axis of lead.rows) if (size(axis) === 1) scope.uniteAlong(lead.slots, axis);
  const { axis, rows, slots } = settled(lead, scope.classes);
  if (size(axis) === 1) return;
  const dims = carrier.dims.map((own, at) => ([...rows, axis].includes(places[at] ?? -1) ? own : 1));
  const made: Track = {
    axis: places.indexOf(axis),
    rows: rows.map((row) => places.indexOf(row)),
    slots: { dims, ids: scope.classes.make(elementCount(dims)) },
  };
  scope.adopt(carrier, made);
  scope.unite(placedTrack(made, places, slots.dims.length).slots, slots, 'they belong to channels that stay');
}

/**
 * The tracks after a sum over `axis`. What went along it is gone; where it went row by row, whole rows go from now on, as the sum
 * would otherwise not show it.
 */
export function contracted(scope: StructureScope, tracks: readonly Track[], axis: number): Track[] {
  return tracks.flatMap((track) => {
    if (!axesOf(track).includes(axis)) return [track];
    if (track.axis === axis && track.rows.length === 0) return [];
    scope.uniteAlong(track.slots, axis);
    const left = settled(track, scope.classes);
    return left.axis === axis ? [] : [left];
  });
}

/** The tracks in a space without the axes, on which they do not depend. */
export function withoutSpaceAxes(tracks: readonly Track[], axes: readonly number[]): Track[] {
  const lower = (axis: number): number => axis - axes.filter((each) => each < axis).length;
  return tracks.map(({ axis, rows, slots }) => ({ axis: lower(axis), rows: rows.map(lower), slots: withoutAxes(slots, axes) }));
}
