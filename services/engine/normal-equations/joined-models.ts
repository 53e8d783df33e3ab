/** Two models in one graph, fed alike: what products of activations of both are computed in. */
import { cloneModel, cloneNode, declaredValues, type Graph, graphsWithin, type Model, Value } from '../ir/index.js';

export interface JoinedModels {
  /** The first model with its names, inputs and outputs, and the second beside it. */
  readonly model: Model;
  /** Name in the joined graph of a value of the second. */
  nameInSecond(name: string): string;
}

/** Weights are shared with both; neither is changed. The second must take the inputs of the first. */
export function joinModels(first: Model, second: Model): JoinedModels {
  const model = cloneModel(first);
  const { graph } = model;
  const prefix = freePrefix(graph);
  const copies = new Map<Value, Value>();
  for (const input of second.graph.inputs) {
    const shared = graph.inputs.find(({ name }) => name === input.name);
    if (shared && !second.graph.initializers.has(input)) copies.set(input, shared);
  }
  const renamed = (value: Value): Value => {
    const copy = new Value(`${prefix}${value.name}`, value.type);
    copies.set(value, copy);
    return copy;
  };
  for (const [value, tensor] of second.graph.initializers) graph.initializers.set(renamed(value), tensor);
  for (const [value, tensor] of second.graph.sparseInitializers) graph.sparseInitializers.set(renamed(value), tensor);
  for (const node of second.graph.nodes) for (const output of node.outputs) if (output) renamed(output);
  for (const node of second.graph.nodes) {
    const copy = cloneNode(node, copies);
    copy.name = `${prefix}${node.name}`;
    for (const subgraph of copy.subgraphs) renameWithin(subgraph, prefix);
    graph.append(copy);
  }
  const inputs = new Set(second.graph.inputs.filter((input) => !second.graph.initializers.has(input)).map(({ name }) => name));
  return { model, nameInSecond: (name) => (inputs.has(name) ? name : `${prefix}${name}`) };
}

function renameWithin(subgraph: Graph, prefix: string): void {
  for (const graph of graphsWithin(subgraph)) {
    for (const value of declaredValues(graph)) value.name = `${prefix}${value.name}`;
    for (const node of graph.nodes) node.name = `${prefix}${node.name}`;
  }
}

/** No name of the graph begins with it. */
function freePrefix(graph: Graph): string {
  const names: string[] = [];
  for (const each of graphsWithin(graph)) {
    for (const { name } of declaredValues(each)) names.push(name);
    for (const { name } of each.nodes) names.push(name);
  }
  let prefix = 'second/';
  while (names.some((name) => name.startsWith(prefix))) prefix = `second/${prefix}`;
  return prefix;
}
