/** The order of the nodes from which the runtime takes that of execution. */
import type { Graph, Node } from '../ir/index.js';

/**
 * The runtime runs a graph depth first from the nodes that nobody reads, the last of them in the file first. The gradients of
 * weights are such nodes, the first layer's written last: behind it the gradients of all layers would be held until its own is
 * done. Turned round, each layer's products run as soon as they can and what they read is freed.
 */
export function orderForRelease(graph: Graph): void {
  const isRead = (node: Node): boolean => node.outputs.some((output) => output?.isRead);
  const ends = graph.nodes.filter((node) => !isRead(node));
  graph.reorder([...graph.nodes.filter(isRead), ...ends.reverse()]);
}
