/** Node names are unique in each graph again after rewriting: onnxruntime refuses a graph with two nodes of one name. */
import type { Model } from '../ir/index.js';
import { NameAuthority } from '../ir/name-authority.js';
import { graphsWithin } from '../ir/traversal.js';

/** Renames the later of two nodes with the same name; unnamed nodes stay unnamed. */
export function makeNodeNamesUnique(model: Model): void {
  const names = new NameAuthority(model);
  for (const graph of graphsWithin(model.graph)) {
    const taken = new Set<string>();
    for (const node of graph.nodes) {
      if (taken.has(node.name)) node.name = names.nodeName(node.name);
      if (node.name !== '') taken.add(node.name);
    }
  }
}
