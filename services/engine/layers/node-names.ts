/** Names for nodes that have none: kernels and layers are told apart by them. */
import { type Graph, graphsWithin, type Model, NameAuthority } from '../ir/index.js';
import { reportName } from './weight-store.js';

/** Names the nodes of `graphs`, by default of the whole model, after their operator and first output. */
export function nameNodes(model: Model, graphs: Iterable<Graph> = graphsWithin(model.graph)): void {
  const names = new NameAuthority(model);
  for (const { nodes } of graphs)
    for (const node of nodes) if (node.name === '') node.name = names.nodeName(`${node.opType}_${reportName(node)}`);
}
