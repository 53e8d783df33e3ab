/** Equal initializers become one, across the main graph and its subgraphs. */
import type { Graph } from '../ir/index.js';
import { isOverridable } from './model-facts.js';
import type { GraphPass, PassScope } from './pass.js';

function share(graph: Graph, { editor }: Omit<PassScope, 'graph'>): boolean {
  const isMain = graph === editor.model.graph;
  let changed = false;
  for (const [value, tensor] of [...graph.initializers]) {
    if (isOverridable(editor.model, graph, value) || graph.isInput(value) || editor.isGraphOutput(value)) continue;
    const shared = isMain ? editor.offerConstant(value, tensor) : editor.addConstant(value.name, tensor, value);
    if (shared === value) continue;
    for (const { node, index } of value.uses) node.setInput(index, shared);
    graph.initializers.delete(value);
    changed = true;
  }
  return changed;
}

export const sharedInitializers: GraphPass = { name: 'shared-initializers', run: share };
