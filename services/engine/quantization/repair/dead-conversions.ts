/** Removes what a repair left unread: conversions, transpositions and activations that nobody reads, and the constants of them. */
import { type Graph, graphsWithin, type Model, type Node } from '../../ir/index.js';
import { WeightStore } from '../../layers/weight-store.js';

/** The operators that repairs replace; nothing else is touched, unread or not. */
const replaceable: ReadonlySet<string> = new Set([
  'QuantizeLinear',
  'DequantizeLinear',
  'Transpose',
  'Relu',
  'Clip',
  'Pad',
  'SpaceToDepth',
  'Constant',
  'Identity',
]);

export function removeUnread(model: Model): void {
  const store = new WeightStore(model);
  for (const graph of graphsWithin(model.graph)) removeNodes(graph, store);
  for (const constant of store.all()) if (!constant.value.isRead && constant.value.producer === null) store.dropIfUnread(constant);
}

/** Backwards, so that a chain goes in one walk. */
function removeNodes(graph: Graph, store: WeightStore): void {
  const dead = new Set<Node>();
  for (const node of [...graph.nodes].reverse()) {
    if (!replaceable.has(node.opType)) continue;
    const isRead = node.outputs.some(
      (output) => output && (store.isGraphOutput(output) || output.consumers.some((reader) => !dead.has(reader))),
    );
    if (!isRead) dead.add(node);
  }
  if (dead.size > 0) graph.remove(dead);
}
