/** Through which nodes the units of a group pass on their way from what computes them to what reads them. */
import type { Node, Value } from '../../ir/index.js';
import type { PruningGroup } from '../structure/pruning-structure.js';

/** Positions of the groups whose units pass through a node that neither produces nor consumes them. */
export function groupsThroughNodes(groups: readonly PruningGroup[]): ReadonlyMap<Node, readonly number[]> {
  const through = new Map<Node, number[]>();
  for (const [at, group] of groups.entries()) {
    for (const node of nodesBetween(group)) through.set(node, [...(through.get(node) ?? []), at]);
  }
  return through;
}

function nodesBetween({ producers, consumers }: PruningGroup): Set<Node> {
  const ends = new Set([...producers, ...consumers]);
  const between = new Set<Node>();
  const open: (Value | null)[] = producers.flatMap(({ outputs }) => [...outputs]);
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    for (const reader of value?.consumers ?? []) {
      if (ends.has(reader) || between.has(reader)) continue;
      between.add(reader);
      open.push(...reader.outputs);
    }
  }
  return between;
}
