/** What remains of each axis when units go. */
import { EngineError } from '../../engine-errors.js';
import type { PruningUnit } from './pruning-structure.js';
import type { AnalyzedStructure, UnitTrack } from './structure-layout.js';

/** Ids of the units to go. Throws EngineError `recipe_invalid` when a group would be empty or its parts would become unequal. */
export function removedIds({ groups }: AnalyzedStructure, units: Iterable<PruningUnit>): ReadonlySet<number> {
  const removed = new Set(Array.from(units, ({ id }) => id));
  for (const { id, units: all, parts } of groups) {
    const counts = parts.map((part) => part.filter((at) => removed.has(all[at]?.id ?? -1)).length);
    if (counts.some((count, at) => count >= (parts[at]?.length ?? 0)))
      throw new EngineError(
        'recipe_invalid',
        `Pruning would remove all of "${id}". Keep at least one of its units, or leave the layer out.`,
        { group: id },
      );
    if (counts.some((count) => count !== counts[0]))
      throw new EngineError('recipe_invalid', `The parts of "${id}" must lose equal numbers of units: choose as many in each.`, {
        group: id,
      });
  }
  return removed;
}

/** The indices that remain along the axis, one list for each position of the rows (one list without rows). */
export function keptRows({ axis, rows, dims, units }: UnitTrack, removed: ReadonlySet<number>): number[][] {
  const size = dims[axis] ?? 1;
  const strides = dims.map((_, at) => dims.slice(at + 1).reduce((product, each) => product * each, 1));
  const stride = strides[axis] ?? 1;
  return rowStarts(rows, dims, strides).map((start) => {
    const kept: number[] = [];
    for (let index = 0; index < size; index += 1) if (!removed.has(units[start + index * stride] ?? -1)) kept.push(index);
    return kept;
  });
}

/** Positions of the first element of each row. */
function rowStarts(rows: readonly number[], dims: readonly number[], strides: readonly number[]): number[] {
  return rows.reduce<number[]>(
    (starts, row) => starts.flatMap((start) => Array.from({ length: dims[row] ?? 1 }, (_, at) => start + at * (strides[row] ?? 1))),
    [0],
  );
}
