/** In which order layers are rounded: those that do not depend on each other together, all after those that they depend on. */
import type { Graph, Node, Value } from '../ir/index.js';
import { dependencies } from '../ir/traversal.js';

export interface LayerPass<Layer> {
  readonly layers: readonly Layer[];
  /** The value whose mean the bias of a layer can set: its output, or the sum at whose end it stands when the rest is rounded before. */
  targetOf(layer: Layer): Value | undefined;
}

/** At most about `limit` passes, in topological order; `layers` are nodes of `graph`. */
export function layerPasses<Layer extends { readonly node: Node }>(
  graph: Graph,
  layers: readonly Layer[],
  limit: number,
): LayerPass<Layer>[] {
  const levels = levelsOf(graph, new Set(layers.map(({ node }) => node)));
  const levelOf = (value: Value | null | undefined): number => (value?.producer ? (levels.get(value.producer) ?? 0) : 0);
  const highest = Math.max(0, ...layers.map(({ node }) => levels.get(node) ?? 0));
  const levelsPerPass = Math.ceil(highest / limit);
  const passes: LayerPass<Layer>[] = [];
  for (let first = 1; first <= highest; first += levelsPerPass) {
    const inPass = layers.filter(({ node }) => {
      const level = levels.get(node) ?? 0;
      return level >= first && level < first + levelsPerPass;
    });
    const isDone = (value: Value | null): boolean => levelOf(value) < first;
    passes.push({ layers: inPass, targetOf: ({ node }) => endOfSum(node, graph, isDone) });
  }
  return passes;
}

/** How many of the layers lie on the longest path to each node, itself included. */
export function levelsOf(graph: Graph, layers: ReadonlySet<Node>): Map<Node, number> {
  const levels = new Map<Node, number>();
  for (const node of graph.nodes) {
    let before = 0;
    for (const { producer } of dependencies(node)) if (producer) before = Math.max(before, levels.get(producer) ?? 0);
    levels.set(node, before + (layers.has(node) ? 1 : 0));
  }
  return levels;
}

/** Follows Adds that are the only readers of a value while everything else that they add is done. */
function endOfSum({ outputs: [output] }: Node, graph: Graph, isDone: (value: Value | null) => boolean): Value | undefined {
  let sum = output ?? undefined;
  while (sum && !graph.isOutput(sum)) {
    const [use, ...others] = sum.uses;
    if (!use || others.length > 0 || use.node.opType !== 'Add' || use.node.domain !== '' || use.node.graph !== graph) break;
    if (!isDone(use.node.inputs[1 - use.index] ?? null)) break;
    sum = use.node.outputs[0] ?? undefined;
  }
  return sum;
}
