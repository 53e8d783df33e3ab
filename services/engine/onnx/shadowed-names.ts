/** After decoding: values of a subgraph that hide a value of a graph around them get a name of their own. */
import { declaredValues, type Graph, type Model, NameAuthority } from '../ir/index.js';

/**
 * Makes a name mean one value along every chain of nested graphs. A rewrite may then let an inner node read any value
 * around it; with shadowing the written name could be caught by an inner value. Inner names are no interface: subgraph
 * inputs and outputs are matched by position.
 */
export function renameShadowingValues(model: Model): void {
  let names: NameAuthority | undefined;
  const visit = (graph: Graph, outer: VisibleNames | null) => {
    const subgraphs = graph.nodes.flatMap((node) => (node.attributes.size > 0 ? node.subgraphs : []));
    if (!outer && subgraphs.length === 0) return;
    const visible = new VisibleNames(outer);
    for (const value of declaredValues(graph)) {
      if (outer?.has(value.name)) {
        names ??= new NameAuthority(model);
        value.name = names.valueName(value.name);
      }
      visible.names.add(value.name);
    }
    for (const subgraph of subgraphs) visit(subgraph, visible);
  };
  visit(model.graph, null);
  for (const definition of model.functions) visit(definition.body, null);
}

/** Names of a graph and the graphs around it; linked, as copying them for each of many branches would be quadratic. */
class VisibleNames {
  readonly names = new Set<string>();

  constructor(private readonly outer: VisibleNames | null) {}

  has(name: string): boolean {
    return this.names.has(name) || (this.outer?.has(name) ?? false);
  }
}
