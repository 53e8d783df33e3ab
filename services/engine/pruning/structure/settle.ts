/** The end of the analysis: boxes stay boxes, what cannot go freezes what depends on it. */

import { FIXED } from './slot-classes.js';
import { placed, spread } from './slot-tensor.js';
import type { Carrier, StructureScope } from './structure-scope.js';
import { axesOf, type Track } from './track.js';

/** The slots of each row of a track: all rows must lose equal numbers. */
export function rowsOf({ axis, rows, slots }: Track): Int32Array[] {
  const order = axesOf({ axis, rows, slots });
  const idle = slots.dims.flatMap((_, each) => (order.includes(each) ? [] : [each]));
  const places = slots.dims.map((_, each) => (order.includes(each) ? idle.length + order.indexOf(each) : idle.indexOf(each)));
  const { ids } = placed(spread(slots, slots.dims), places, places.length);
  const size = slots.dims[axis] ?? 1;
  return Array.from({ length: ids.length / size }, (_, row) => ids.subarray(row * size, (row + 1) * size));
}

export interface Settlement {
  /** Reason by class that stays. */
  readonly frozen: ReadonlyMap<number, string>;
  /** Every axis that something could go from. */
  readonly tracks: readonly Track[];
  /** What each class that can go occurs in, as a key: classes with one key are alike. */
  readonly atoms: ReadonlyMap<number, string>;
  /** Keys whose classes must go in equal numbers. */
  readonly ties: readonly (readonly string[])[];
}

/** Unites and freezes until nothing contradicts: see `violated`. */
export function settle(scope: StructureScope): Settlement {
  for (const oblige of scope.obligations) oblige();
  for (;;) {
    const { unions } = scope.classes;
    const tracks = liveTracks(scope);
    if (scope.classes.unions !== unions) continue;
    const frozen = frozenClasses(scope, tracks);
    const atoms = atomsOf(scope, tracks, frozen);
    const bound = tracks.filter(({ rows }) => rows.length > 0);
    const bad = bound.find((track) => !isBalanced(scope, track, atoms));
    if (!bad) return { frozen, tracks, atoms, ties: bound.map((track) => keysOf(scope, track, atoms)) };
    for (const axis of bad.rows) scope.uniteAlong(bad.slots, axis);
  }
}

/** Every track of the model once: values that share their slots, as behind an activation function, count as one. */
function liveTracks(scope: StructureScope): Track[] {
  const seen = new Map<Int32Array, string[]>();
  for (const carrier of scope.all()) if (carrier.constant) oneRowAxis(scope, carrier);
  const tracks = [...scope.all()].flatMap((carrier) => scope.tracks(carrier)).concat(scope.balances);
  return tracks.filter(({ rows, slots: { dims, ids } }) => {
    const forms = seen.get(ids) ?? [];
    const form = `${rows.map((row) => dims[row])}`;
    seen.set(ids, [...forms, form]);
    return !forms.includes(form);
  });
}

/** Slices of constants are told by one other axis at most: what stands in more rows goes together along the outer ones. */
function oneRowAxis(scope: StructureScope, carrier: Carrier): void {
  for (const { rows, slots } of scope.tracks(carrier)) for (const row of rows.slice(0, -1)) scope.uniteAlong(slots, row);
}

/** A row of which nothing can go keeps the others from going, too. */
function frozenClasses(scope: StructureScope, tracks: readonly Track[]): Map<number, string> {
  const { classes } = scope;
  const frozen = new Map<number, string>();
  for (const [slot, why] of scope.frozen) if (!frozen.has(classes.find(slot))) frozen.set(classes.find(slot), why);
  for (let changed = true; changed; ) {
    changed = false;
    for (const track of tracks) {
      if (track.rows.length === 0) continue;
      const stuck = rowsOf(track).find((row) => row.every((id) => id === FIXED || frozen.has(classes.find(id))));
      if (!stuck) continue;
      const why = stuck.reduce<string | undefined>((found, id) => found ?? frozen.get(classes.find(id)), undefined);
      for (const id of track.slots.ids) {
        if (id === FIXED || frozen.has(classes.find(id))) continue;
        frozen.set(classes.find(id), `they must go in equal numbers with channels that stay: ${why ?? 'padding'}`);
        changed = true;
      }
    }
  }
  return frozen;
}

/** The tracks and rows that a class occurs in. */
function atomsOf(scope: StructureScope, tracks: readonly Track[], frozen: ReadonlyMap<number, string>): Map<number, string> {
  const occurrences = new Map<number, string[]>();
  for (const [at, track] of tracks.entries()) {
    for (const [row, ids] of rowsOf(track).entries()) {
      for (const root of new Set(Array.from(ids, (id) => scope.classes.find(id)))) {
        if (root === FIXED || frozen.has(root)) continue;
        const known = occurrences.get(root);
        if (known) known.push(`${at}.${row}`);
        else occurrences.set(root, [`${at}.${row}`]);
      }
    }
  }
  return new Map([...occurrences].map(([root, places]) => [root, places.join(' ')]));
}

/**
 * Rows lose equal numbers when all kinds of classes in them do: each row has as many kinds, counted as often as a class of the kind
 * stands in the row.
 */
function isBalanced(scope: StructureScope, track: Track, atoms: ReadonlyMap<number, string>): boolean {
  const weights = rowsOf(track).map((row) => rowWeight(scope, row, atoms));
  return weights.every((weight) => weight !== null && weight === weights[0]);
}

function rowWeight(scope: StructureScope, row: Int32Array, atoms: ReadonlyMap<number, string>): number | null {
  const counts = new Map<number, number>();
  for (const id of row) counts.set(scope.classes.find(id), (counts.get(scope.classes.find(id)) ?? 0) + 1);
  const perKind = new Map<string, number>();
  for (const [root, count] of counts) {
    const kind = atoms.get(root);
    if (kind === undefined) continue;
    if ((perKind.get(kind) ?? count) !== count) return null;
    perKind.set(kind, count);
  }
  return [...perKind.values()].reduce((sum, count) => sum + count, 0);
}

function keysOf(scope: StructureScope, track: Track, atoms: ReadonlyMap<number, string>): string[] {
  const keys = new Set<string>();
  for (const id of track.slots.ids) {
    const key = atoms.get(scope.classes.find(id));
    if (key !== undefined) keys.add(key);
  }
  return [...keys];
}
