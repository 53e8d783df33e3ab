/** Which index of an axis is which slot: one axis of a value becoming shorter. */
import type { SlotClasses } from './slot-classes.js';
import { collapsed, eachAlong, placed, type SlotTensor } from './slot-tensor.js';

export interface Track {
  /** The axis that becomes shorter. */
  readonly axis: number;
  /**
   * Axes at whose positions other indices go, outer to inner: the directions of a recurrent layer, the heads of an attention. As the
   * value stays a box, each of their positions must lose the same number.
   */
  readonly rows: readonly number[];
  /** Sizes along `axis` and `rows`, 1 along all others. */
  readonly slots: SlotTensor;
}

/** All axes that the slots depend on, the one that becomes shorter last. */
export function axesOf({ axis, rows }: Track): number[] {
  return [...rows, axis];
}

/**
 * The same track by what has become one class since it was made: rows that lose the same indices are no rows; and where whole rows go,
 * the innermost of them is the axis that becomes shorter.
 */
export function settled(track: Track, classes: SlotClasses): Track {
  if (track.rows.length === 0) return track;
  const varying = axesOf(track).filter((axis) => varies(track.slots, axis, classes));
  const axis = varying.at(-1) ?? track.axis;
  if (axis === track.axis && varying.length > track.rows.length) return track;
  const rows = varying.slice(0, -1);
  const idle = axesOf(track).filter((each) => each !== axis && !rows.includes(each));
  return { axis, rows, slots: idle.reduce(collapsed, track.slots) };
}

function varies(slots: SlotTensor, axis: number, classes: SlotClasses): boolean {
  let found = false;
  eachAlong(slots, axis, (first, other) => {
    found ||= classes.find(first) !== classes.find(other);
  });
  return found;
}

/** The track of a value whose axis i is axis `places[i]` of `rank` axes. */
export function placedTrack({ axis, rows, slots }: Track, places: readonly number[], rank: number): Track {
  const place = (each: number): number => places[each] ?? each;
  return { axis: place(axis), rows: rows.map(place), slots: placed(slots, places, rank) };
}
