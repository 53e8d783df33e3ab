/** Walking graphs: every graph of a model, values captured by subgraphs, stable topological order. */
import type { Graph, Model, Node, Value } from './graph.js';

/** A graph whose nodes depend on each other in a ring; `node` is one of them. */
export class CycleError extends Error {
  override readonly name = 'CycleError';

  constructor(readonly node: Node) {
    super(`node ${node.name || node.opType} depends on its own output`);
  }
}

/** `graph` and the graphs below it (branches and bodies), outer before inner. */
export function* graphsWithin(graph: Graph): Generator<Graph> {
  const pending = [graph];
  for (let next = pending.pop(); next; next = pending.pop()) {
    yield next;
    const below = next.nodes.flatMap((node) => (node.attributes.size > 0 ? node.subgraphs : []));
    for (const subgraph of below.reverse()) pending.push(subgraph);
  }
}

/** Every graph of the model: the main graph, function bodies, and all subgraphs of both. */
export function* allGraphs(model: Model): Generator<Graph> {
  yield* graphsWithin(model.graph);
  for (const definition of model.functions) yield* graphsWithin(definition.body);
}

/** Every node of `graph` and of the graphs below it. */
export function* nodesWithin(graph: Graph): Generator<Node> {
  for (const each of graphsWithin(graph)) yield* each.nodes;
}

/** The values that a graph itself brings into scope: inputs, constants, outputs of its nodes. */
export function declaredValues(graph: Graph): Set<Value> {
  const declared = new Set<Value>([...graph.inputs, ...graph.initializers.keys(), ...graph.sparseInitializers.keys()]);
  for (const node of graph.nodes) for (const output of node.outputs) if (output) declared.add(output);
  return declared;
}

/** Values from outside that the subgraphs of `node` read (or return directly), each once. */
export function capturedValues(node: Node): Set<Value> {
  const captured = new Set<Value>();
  for (const subgraph of node.subgraphs) {
    const read = new Set<Value>(subgraph.outputs);
    for (const inner of subgraph.nodes) {
      for (const input of inner.inputs) if (input) read.add(input);
      if (inner.attributes.size > 0) for (const value of capturedValues(inner)) read.add(value);
    }
    const declared = declaredValues(subgraph);
    for (const value of read) if (!declared.has(value)) captured.add(value);
  }
  return captured;
}

/** Everything `node` needs before it can run: its inputs and what its subgraphs capture. */
export function dependencies(node: Node): Set<Value> {
  const values = node.attributes.size > 0 ? capturedValues(node) : new Set<Value>();
  for (const input of node.inputs) if (input) values.add(input);
  return values;
}

/** `values` and all that they are made of; a value for which `enters` is false is left out, and what only it is made of. */
export function valuesBehind(values: Iterable<Value>, enters: (value: Value) => boolean = () => true): Set<Value> {
  const seen = new Set<Value>();
  const pending = [...values];
  for (let value = pending.pop(); value; value = pending.pop()) {
    if (seen.has(value) || !enters(value)) continue;
    seen.add(value);
    if (value.producer) pending.push(...dependencies(value.producer));
  }
  return seen;
}

/** The nodes of `graph` that make one of `values`, in its order. */
export function nodesMaking(graph: Graph, values: ReadonlySet<Value>): Node[] {
  return graph.nodes.filter((node) => node.outputs.some((output) => output !== null && values.has(output)));
}

/**
 * The nodes of `graph` with producers before readers, captured values counted as read.
 * Stable: a graph that is already sorted keeps its order. Throws CycleError.
 */
export function topologicalOrder(graph: Graph): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, 'open' | 'done'>();
  for (const root of graph.nodes) {
    if (state.has(root)) continue;
    // Depth-first with an explicit stack: chains of 100,000 nodes must not overflow the call stack.
    const stack = [{ node: root, pending: producersOf(root, graph) }];
    state.set(root, 'open');
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const producer = top.pending.pop();
      if (!producer) {
        state.set(top.node, 'done');
        order.push(top.node);
        stack.pop();
      } else if (!state.has(producer)) {
        state.set(producer, 'open');
        stack.push({ node: producer, pending: producersOf(producer, graph) });
      } else if (state.get(producer) === 'open') {
        throw new CycleError(producer);
      }
    }
  }
  return order;
}

function producersOf(node: Node, graph: Graph): Node[] {
  const producers: Node[] = [];
  for (const value of dependencies(node)) if (value.producer?.graph === graph) producers.push(value.producer);
  return producers.reverse();
}

/** Sorts the nodes of `graph` in place; see topologicalOrder. Throws CycleError. */
export function sortTopologically(graph: Graph): void {
  graph.reorder(topologicalOrder(graph));
}
