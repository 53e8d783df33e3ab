/** What becomes of a track when the elements of its value are laid out in another shape, in the same order. */
import { elementCount } from '../../ir/index.js';
import { spread } from './slot-tensor.js';
import type { StructureScope } from './structure-scope.js';
import { axesOf, settled, type Track } from './track.js';

/** Consecutive axes of both shapes that hold the same elements: as few as possible. */
interface Block {
  readonly from: readonly number[];
  readonly to: readonly number[];
}

function blocksOf(before: readonly number[], after: readonly number[]): Block[] {
  const blocks: Block[] = [];
  let [i, j] = [0, 0];
  while (i < before.length || j < after.length) {
    const [from, to]: [number[], number[]] = [[], []];
    let [left, right] = [1, 1];
    const takeOld = (): void => {
      left *= before[i] ?? 1;
      from.push(i);
      i += 1;
    };
    const takeNew = (): void => {
      right *= after[j] ?? 1;
      to.push(j);
      j += 1;
    };
    if (i < before.length) takeOld();
    if (j < after.length) takeNew();
    while (left !== right) {
      if (left < right) takeOld();
      else takeNew();
    }
    blocks.push({ from, to });
  }
  return blocks;
}

/**
 * The track in the new shape, which has as many elements, more than none. The last of the new axes that the slots depend on becomes
 * shorter; the others are rows. Elements keep their order only when the old axis is the last of its block, too: rows behind it are made
 * to lose the same indices. null when no axis can become shorter.
 */
export function reshapedTrack(scope: StructureScope, track: Track, before: readonly number[], after: readonly number[]): Track | null {
  const blocks = blocksOf(before, after);
  const { axis, rows, slots } = inOrder(scope, track, blocks);
  const blockOf = (old: number): Block => blocks.find(({ from }) => from.includes(old)) ?? { from: [], to: [] };
  const moving = [...new Set([...rows, axis].map(blockOf))].filter((block) => block !== blockOf(axis)).concat(blockOf(axis));
  const full = before.map((size, old) => (moving.some(({ from }) => from.includes(old)) ? size : 1));
  const dims = after.map((size, at) => (moving.some(({ to }) => to.includes(at)) ? size : 1));
  const order = moving.flatMap(({ to }) => to.filter((at) => (after[at] ?? 1) > 1));
  const last = order.at(-1);
  if (last === undefined || !blockOf(axis).to.includes(last) || elementCount(full) !== elementCount(dims)) return null;
  const { ids } = spread(slots, full);
  return settled({ axis: last, rows: order.slice(0, -1), slots: { dims, ids } }, scope.classes);
}

/** Within each block the axes stand as the slots depend on them; what stands otherwise loses the same at each position. */
function inOrder(scope: StructureScope, track: Track, blocks: readonly Block[]): Track {
  let result = track;
  for (const { from } of blocks) {
    const inside = axesOf(result).filter((each) => from.includes(each));
    const last = inside.at(-1) ?? 0;
    for (const wrong of inside.filter((each) => each > last)) scope.uniteAlong(result.slots, wrong);
    result = settled(result, scope.classes);
  }
  return result;
}
