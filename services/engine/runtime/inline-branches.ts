/** Replaces the If nodes of a model by the branches that given inputs take, so that what happens inside becomes visible. */
import { cloneModel, cloneNode } from '../ir/clone-model.js';
import { type Graph, graphAttribute, type Model, Node, type Tensor, type Value } from '../ir/index.js';
import type { Runtime } from './execution-session.js';

/** Branches inside branches are reached one level at a time; deeper ones stay as they are. */
const LEVELS_MAX = 16;

/** A copy of `model` without If nodes in its main graph; `model` itself when it has none. Throws what running throws. */
export async function inlineTakenBranches(runtime: Runtime, model: Model, feeds: ReadonlyMap<string, Tensor>): Promise<Model> {
  if (conditionals(model.graph).length === 0) return model;
  const flat = cloneModel(model);
  for (let level = 0; level < LEVELS_MAX; level++) {
    const nodes = conditionals(flat.graph);
    if (nodes.length === 0) break;
    const taken = await evaluateConditions(runtime, flat, { nodes, feeds });
    for (const [node, condition] of taken) inlineBranch(flat.graph, node, condition);
  }
  return flat;
}

function conditionals(graph: Graph): Node[] {
  return graph.nodes.filter((node) => node.opType === 'If' && node.domain === '');
}

async function evaluateConditions(
  runtime: Runtime,
  model: Model,
  { nodes, feeds }: { nodes: readonly Node[]; feeds: ReadonlyMap<string, Tensor> },
): Promise<Map<Node, boolean>> {
  const observed = cloneModel(model);
  const conditions = new Set(nodes.map((node) => node.inputs[0]?.name ?? ''));
  const known = new Map<string, Tensor>(feeds);
  for (const [value, tensor] of observed.graph.initializers) known.set(value.name, tensor);
  const missing = [...conditions].filter((name) => !known.has(name));
  const produced = observed.graph.nodes.flatMap((node) => node.outputs);
  /** Only the conditions are outputs of the copy: the runtime computes nothing else. */
  observed.graph.outputs.splice(
    0,
    Number.POSITIVE_INFINITY,
    ...produced.filter((value): value is Value => value !== null && missing.includes(value.name)),
  );
  if (missing.length > 0) {
    const session = await runtime.open(observed, { optimization: 'disabled' });
    try {
      for (const [name, value] of await session.run(feeds, missing)) known.set(name, value);
    } finally {
      await session.close();
    }
  }
  return new Map(nodes.map((node) => [node, (known.get(node.inputs[0]?.name ?? '')?.data.read()[0] ?? 0) !== 0]));
}

function inlineBranch(graph: Graph, node: Node, condition: boolean): void {
  const branch = graphAttribute(node, condition ? 'then_branch' : 'else_branch');
  if (!branch) throw new TypeError(`If ${node.name} has no ${condition ? 'then' : 'else'} branch`);
  for (const [value, tensor] of branch.initializers) graph.initializers.set(value, tensor);
  const copies = new Map<Value, Value>();
  const inner = branch.nodes.map((each) => cloneNode(each, copies));
  const exits = node.outputs.flatMap((output, index) => {
    const result = branch.outputs[index];
    if (!output || !result) return [];
    return [new Node({ opType: 'Identity', inputs: [copies.get(result) ?? result], outputs: [output] })];
  });
  graph.insertBefore(node, ...inner, ...exits);
  graph.remove([node]);
}
