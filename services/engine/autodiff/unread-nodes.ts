/** Nodes that compute what nobody reads: the runtime would run them. */
import type { Graph, Node } from '../ir/index.js';

/** Removes them from a graph in topological order, and those that only they read. */
export function removeUnread(graph: Graph): void {
  const results = new Set(graph.outputs);
  const unread = new Set<Node>();
  for (const node of [...graph.nodes].reverse())
    if (!node.outputs.some((output) => output && (results.has(output) || output.consumers.some((reader) => !unread.has(reader)))))
      unread.add(node);
  graph.remove(unread);
}
