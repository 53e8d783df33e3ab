/** Dead-code elimination: drops nodes whose outputs nobody reads, and initializers that no node reads. */
import type { Graph, Node } from '../ir/index.js';
import { operatorTraits } from '../ops/index.js';
import { isOverridable } from './model-facts.js';
import type { GraphPass, PassScope } from './pass.js';

/** Walks backwards, so that a chain dies in one round; what only a dead subgraph reads dies in the next one. */
function deadNodes(graph: Graph, { editor }: Omit<PassScope, 'graph'>): Node[] {
  const dead = new Set<Node>();
  for (const node of [...graph.nodes].reverse()) {
    // What an unknown operator does besides its outputs is its own affair.
    if (!operatorTraits(node.domain, node.opType)) continue;
    const isRead = node.outputs.some(
      (output) => output && (editor.isGraphOutput(output) || output.consumers.some((reader) => !dead.has(reader))),
    );
    if (!isRead) dead.add(node);
  }
  return [...dead];
}

function eliminate(graph: Graph, scope: Omit<PassScope, 'graph'>): boolean {
  const nodes = deadNodes(graph, scope);
  for (const node of nodes) scope.editor.report(node, 'removed', deadCodeElimination.name, 'nobody reads its outputs');
  graph.remove(nodes);
  const { model } = scope.editor;
  let dropped = nodes.length > 0;
  for (const value of [...graph.initializers.keys()]) {
    if (value.isRead || scope.editor.isGraphOutput(value) || isOverridable(model, graph, value)) continue;
    graph.initializers.delete(value);
    dropped = true;
  }
  return dropped;
}

export const deadCodeElimination: GraphPass = { name: 'dead-code-elimination', run: eliminate };
