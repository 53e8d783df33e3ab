/** Units that have no equals, as where channels are cut and shuffled over and over: some stay, so that the others can go. */

import type { Settlement } from './settle.js';
import { FIXED } from './slot-classes.js';
import type { StructureScope } from './structure-scope.js';

/** Alternatives of one kind that must lose equal numbers, each a list of classes. */
type Parts = readonly (readonly number[])[];

export interface LoneUnits {
  /** Classes that can go together with others, by what they meet; one of each list stays, whichever. */
  readonly groups: readonly (readonly number[])[];
  /** Classes that stay: some index of each axis that they stand on would not be left otherwise. */
  readonly anchors: ReadonlySet<number>;
}

/**
 * `lone` are classes without equals, `usable` the other groups. An axis is safe when something on it stays whatever goes: an index that
 * never goes, or a whole part of a group, of which one unit stays. Anchors make all other axes safe: a hitting set, chosen greedily.
 */
export function looseUnits(
  scope: StructureScope,
  settlement: Settlement,
  { lone, usable }: { lone: readonly number[]; usable: readonly Parts[] },
): LoneUnits {
  const all = new Set(lone);
  const axes = settlement.tracks.map(({ slots }) => new Set(Array.from(slots.ids, (id) => scope.classes.find(id))));
  const touched = axes.filter((axis) => [...axis].some((root) => all.has(root)));
  const staying = (root: number): boolean => root === FIXED || !settlement.atoms.has(root);
  const parts = usable.flat();
  const isSafe = (axis: ReadonlySet<number>): boolean =>
    [...axis].some(staying) || parts.some((part) => part.length > 0 && part.every((root) => axis.has(root)));
  const anchors = hittingSet(
    touched.filter((axis) => !isSafe(axis)),
    all,
  );
  const free = lone.filter((root) => !anchors.has(root));
  return { groups: connected(free, touched), anchors };
}

function hittingSet(axes: readonly ReadonlySet<number>[], candidates: ReadonlySet<number>): Set<number> {
  const chosen = new Set<number>();
  let open = axes;
  while (open.length > 0) {
    const hits = new Map<number, number>();
    for (const axis of open) for (const root of axis) if (candidates.has(root)) hits.set(root, (hits.get(root) ?? 0) + 1);
    const best = [...hits].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0]?.[0];
    if (best === undefined) break;
    chosen.add(best);
    open = open.filter((axis) => !axis.has(best));
  }
  return chosen;
}

/** Classes that meet on an axis, directly or through others. */
function connected(classes: readonly number[], axes: readonly ReadonlySet<number>[]): number[][] {
  let groups = classes.map((root) => [root]);
  for (const axis of axes) {
    const touching = groups.filter((group) => group.some((root) => axis.has(root)));
    if (touching.length > 1) groups = [...groups.filter((group) => !touching.includes(group)), touching.flat()];
  }
  return groups.map((group) => group.sort((a, b) => a - b));
}
