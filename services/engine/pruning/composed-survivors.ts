/** What remains of the constants of a model after it was pruned twice. */
import type { KeptRows, Survivors } from './structure/pruning-structure.js';

/** `second` counts in what `first` left; the result counts in the model before both. */
export function composeSurvivors(first: Survivors, second: Survivors): Survivors {
  const composed = new Map<string, ReadonlyMap<number, KeptRows>>([...first]);
  for (const [name, axes] of second) {
    const before = first.get(name);
    const after = new Map<number, KeptRows>(before);
    for (const [axis, kept] of axes) {
      const origin = before?.get(axis);
      after.set(axis, origin ? composeAxis(origin, kept) : kept);
    }
    composed.set(name, after);
  }
  return composed;
}

/** Where one side has a single list, it is that of all rows. */
function composeAxis(origin: KeptRows, kept: KeptRows): KeptRows {
  return Array.from({ length: Math.max(origin.length, kept.length) }, (_, row) => {
    const from = origin[origin.length === 1 ? 0 : row] ?? [];
    return (kept[kept.length === 1 ? 0 : row] ?? []).map((index) => from[index] ?? index);
  });
}
