/** The values and nodes of a copy of a model, by those of the original. */
import type { Graph, Model, Node, Value } from '../../ir/index.js';
import { declaredValues, graphsWithin } from '../../ir/traversal.js';

export interface Counterparts {
  value(original: Value): Value;
  node(original: Node): Node;
}

/** `copy` is `original` itself or a copy of it by `cloneModel`, not changed since: nodes and values stand in the same order. */
export function counterparts(original: Model, copy: Model): Counterparts {
  if (original === copy) return { value: (value) => value, node: (node) => node };
  const values = new Map<Value, Value>();
  const nodes = new Map<Node, Node>();
  const copies = [...graphsWithin(copy.graph)];
  for (const [at, graph] of [...graphsWithin(original.graph)].entries()) {
    const other = copies[at];
    if (!other || !pair(graph, other, values, nodes)) throw new Error('counterparts: the model is no unchanged copy of the analysed one');
  }
  return { value: (value) => values.get(value) ?? value, node: (node) => nodes.get(node) ?? node };
}

function pair(graph: Graph, copy: Graph, values: Map<Value, Value>, nodes: Map<Node, Node>): boolean {
  const declared = [...declaredValues(copy)];
  for (const [at, value] of [...declaredValues(graph)].entries()) {
    const other = declared[at];
    if (other?.name !== value.name) return false;
    values.set(value, other);
  }
  for (const [at, node] of graph.nodes.entries()) {
    const other = copy.nodes[at];
    if (other?.opType !== node.opType) return false;
    nodes.set(node, other);
  }
  return graph.nodes.length === copy.nodes.length;
}
