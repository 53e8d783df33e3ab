/** After decoding: values of a subgraph that hide a value of a graph around them get a name of their own. */
import { declaredValues, type Graph, type Model, NameAuthority } from '../ir/index.js';

/**
 * Makes a name mean one value along every chain of nested graphs. A rewrite may then let an inner node read any value
 * around it; with shadowing the written name could be caught by an inner value. Inner names are no interface: subgraph
 * inputs and outputs are matched by position.
 */
export function renameShadowingValues(model: Model): void {
  let names: NameAuthority | undefined;
  const visit = (graph: Graph, outer: ReadonlySet<string>) => {
    const withSubgraphs = graph.nodes.filter((node) => node.attributes.size > 0 && node.subgraphs.length > 0);
    if (outer.size === 0 && withSubgraphs.length === 0) return;
    const visible = new Set(outer);
    for (const value of declaredValues(graph)) {
      if (outer.has(value.name)) {
        names ??= new NameAuthority(model);
        value.name = names.valueName(value.name);
      }
      visible.add(value.name);
    }
    for (const node of withSubgraphs) for (const subgraph of node.subgraphs) visit(subgraph, visible);
  };
  visit(model.graph, new Set());
  for (const definition of model.functions) visit(definition.body, new Set());
}
