/** What remains of the constants of a model after it was pruned twice. */
import type { Survivors } from './structure/pruning-structure.js';

/** `second` counts in what `first` left; the result counts in the model before both. */
export function composeSurvivors(first: Survivors, second: Survivors): Survivors {
  const composed = new Map<string, ReadonlyMap<number, readonly number[]>>([...first]);
  for (const [name, axes] of second) {
    const before = first.get(name) ?? new Map<number, readonly number[]>();
    const after = new Map<number, readonly number[]>([...before]);
    for (const [axis, kept] of axes) {
      const origin = before.get(axis);
      after.set(axis, origin ? composeAxis(origin, kept) : kept);
    }
    composed.set(name, after);
  }
  return composed;
}

/**
 * Lists of several rows follow each other, each ascending and of one length. Where one side has a single list, it is that of all rows.
 */
function composeAxis(origin: readonly number[], kept: readonly number[]): readonly number[] {
  const [origins, keeps] = [rowsOf(origin), rowsOf(kept)];
  const count = Math.max(origins.length, keeps.length);
  return Array.from({ length: count }, (_, row) => {
    const from = origins[origins.length === 1 ? 0 : row] ?? [];
    return (keeps[keeps.length === 1 ? 0 : row] ?? []).map((index) => from[index] ?? index);
  }).flat();
}

function rowsOf(list: readonly number[]): number[][] {
  const rows: number[][] = [];
  for (const [at, index] of list.entries()) {
    if (at === 0 || index <= (list[at - 1] ?? 0)) rows.push([]);
    rows.at(-1)?.push(index);
  }
  return rows;
}
