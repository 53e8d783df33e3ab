/** Cuts a graph into runs of nodes for the runtime and single nodes that the emulation computes between them. */
import { EngineError } from '../engine-errors.js';
import { dependencies, type Graph, graphsWithin, type Node, topologicalOrder, type Value } from '../ir/index.js';

export type Step =
  /** Nodes that the runtime computes together. */
  | { readonly kind: 'segment'; readonly nodes: readonly Node[] }
  | { readonly kind: 'product'; readonly node: Node }
  /** An If with saturating products in a branch. */
  | { readonly kind: 'conditional'; readonly node: Node };

/**
 * Level of a node = the largest number of emulated nodes on a path to it. Level by level, first the runtime's nodes, then the
 * emulated ones: the fewest segments that dependencies allow, and everything that a step reads is made before it.
 */
export function planExecution(graph: Graph, saturating: ReadonlySet<Node>): Step[] {
  const levels = new Map<Node, number>();
  const segments = new Map<number, Node[]>();
  const emulated = new Map<number, Step[]>();
  for (const node of topologicalOrder(graph)) {
    const kind = kindOf(node, saturating);
    const level = Math.max(0, ...[...dependencies(node)].map((value) => levelBehind(value, graph, { levels, saturating })));
    levels.set(node, level);
    if (kind === 'runtime') segments.set(level, [...(segments.get(level) ?? []), node]);
    else emulated.set(level, [...(emulated.get(level) ?? []), { kind, node }]);
  }
  const count = Math.max(0, ...[...levels.values()].map((level) => level + 1));
  return Array.from({ length: count }, (_, level): Step[] => {
    const nodes = segments.get(level) ?? [];
    return [...(nodes.length > 0 ? [{ kind: 'segment' as const, nodes }] : []), ...(emulated.get(level) ?? [])];
  }).flat();
}

function levelBehind(
  value: Value,
  graph: Graph,
  { levels, saturating }: { levels: ReadonlyMap<Node, number>; saturating: ReadonlySet<Node> },
): number {
  const { producer } = value;
  if (!producer || producer.graph !== graph) return 0;
  return (levels.get(producer) ?? 0) + (kindOf(producer, saturating) === 'runtime' ? 0 : 1);
}

function kindOf(node: Node, saturating: ReadonlySet<Node>): 'runtime' | 'product' | 'conditional' {
  if (saturating.has(node)) return 'product';
  const inside = node.subgraphs.flatMap((subgraph) => [...graphsWithin(subgraph)]).flatMap((subgraph) => subgraph.nodes);
  if (!inside.some((each) => saturating.has(each))) return 'runtime';
  if (node.opType === 'If' && node.domain === '') return 'conditional';
  throw new EngineError(
    'model_unsupported',
    `${node.opType} "${node.name}" repeats a product that saturates on x64 without VNNI, which cannot be emulated. Evaluate it on such a processor, or quantize it anew for target x64.`,
    { node: node.name },
  );
}
