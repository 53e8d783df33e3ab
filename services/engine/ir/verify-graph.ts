/** The structural verifier: what must be true of every graph before and after each rewrite. */
import type { Graph, Model, Node, Value } from './graph.js';
import { allGraphs, declaredValues } from './traversal.js';

/** The IR was left in a state that no valid model has: a bug in a rewrite, never the fault of a model. */
export class InvariantError extends Error {
  override readonly name = 'InvariantError';
}

/** What nodes can read: the values of a graph up to some point, and those of the graphs around it. */
class VisibleValues {
  private readonly values = new Set<Value>();
  private readonly names = new Set<string>();

  constructor(private readonly outer: VisibleValues | null) {}

  add(value: Value, where: string): void {
    if (value.name === '') throw new InvariantError(`${where} has a value without a name`);
    if (this.hasName(value.name)) throw new InvariantError(`${where}: the name '${value.name}' is defined twice`);
    this.values.add(value);
    this.names.add(value.name);
  }

  has(value: Value): boolean {
    return this.values.has(value) || (this.outer?.has(value) ?? false);
  }

  private hasName(name: string): boolean {
    return this.names.has(name) || (this.outer?.hasName(name) ?? false);
  }
}

/**
 * Checks the whole model: names unique along each chain of nested graphs (static single assignment), producers before
 * readers, producer and use-def chains true in both directions, no use by a node outside the model. Throws InvariantError.
 */
export function verifyModel(model: Model): void {
  const live = new Set<Node>();
  for (const graph of allGraphs(model)) for (const node of graph.nodes) live.add(node);
  for (const root of [model.graph, ...model.functions.map((definition) => definition.body)]) {
    verifyScope(root, null);
  }
  for (const graph of allGraphs(model)) for (const value of declaredValues(graph)) verifyUses(value, live);
}

/** Checks nodes that a patch touched: their chains, their place in the graph. Cheap; order and scopes are left to `verifyModel`. */
export function verifyNodes(nodes: Iterable<Node>): void {
  for (const node of nodes) {
    if (!node.graph) continue;
    verifyNode(node, node.graph);
    for (const input of node.inputs) {
      if (input?.producer && !input.producer.graph)
        throw new InvariantError(`${describe(node)} reads '${input.name}', whose producer was removed`);
    }
  }
}

function verifyScope(graph: Graph, outer: VisibleValues | null): void {
  const where = `graph '${graph.name}'`;
  const visible = new VisibleValues(outer);
  for (const value of new Set([...graph.inputs, ...graph.initializers.keys(), ...graph.sparseInitializers.keys()])) {
    if (value.producer)
      throw new InvariantError(`${where}: input or initializer '${value.name}' is also made by ${describe(value.producer)}`);
    visible.add(value, where);
  }
  if (new Set(graph.inputs).size !== graph.inputs.length) throw new InvariantError(`${where} lists an input twice`);
  for (const node of graph.nodes) {
    verifyNode(node, graph);
    for (const input of node.inputs) {
      if (input && !visible.has(input))
        throw new InvariantError(`${describe(node)} in ${where} reads '${input.name}', which is not defined before it`);
    }
    if (node.attributes.size > 0) for (const subgraph of node.subgraphs) verifyScope(subgraph, visible);
    for (const output of node.outputs) if (output) visible.add(output, describe(node));
  }
  for (const output of graph.outputs) {
    if (!visible.has(output)) throw new InvariantError(`${where}: its output '${output.name}' is not defined`);
  }
}

function verifyNode(node: Node, graph: Graph): void {
  if (node.graph !== graph) throw new InvariantError(`${describe(node)} does not know its graph '${graph.name}'`);
  for (const output of node.outputs) {
    if (output && output.producer !== node)
      throw new InvariantError(`${describe(node)}: its output '${output.name}' names another producer`);
  }
  for (const [index, input] of node.inputs.entries()) {
    if (input && !input.isUsedBy(node, index))
      throw new InvariantError(`${describe(node)}: input ${index} '${input.name}' does not know this use`);
  }
}

function verifyUses(value: Value, live: ReadonlySet<Node>): void {
  for (const { node, index } of value.uses) {
    if (!live.has(node)) throw new InvariantError(`'${value.name}' is used by ${describe(node)}, which is not in the model`);
    if (node.inputs[index] !== value) throw new InvariantError(`'${value.name}' claims to be input ${index} of ${describe(node)}`);
  }
}

function describe(node: Node): string {
  return `node '${node.name || (node.outputs[0]?.name ?? '')}' (${node.opType})`;
}
