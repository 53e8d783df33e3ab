/** If inlining: a condition that is the same in every run leaves only the branch that is taken. */
import { type Graph, graphAttribute, Node, type Value } from '../ir/index.js';
import type { GraphPass, PassScope } from './pass.js';

type Scope = Omit<PassScope, 'graph'>;

function takenBranch(node: Node, { facts }: Scope): Graph | undefined {
  if (node.opType !== 'If' || node.domain !== '') return undefined;
  const condition = facts.constant(node.inputs[0])?.data.read()[0];
  if (condition === undefined) return undefined;
  return graphAttribute(node, condition === 0 ? 'else_branch' : 'then_branch');
}

/** Values of a branch get names that are free in the graph that they move to. */
function renameValues(branch: Graph, { editor }: Scope): void {
  for (const node of branch.nodes) {
    for (const output of node.outputs) if (output && !editor.isUniquelyNamed(output)) output.name = editor.newValue(output.name).name;
  }
}

function moveConstants(branch: Graph, { editor }: Scope): void {
  for (const [value, tensor] of [...branch.initializers]) {
    const moved = editor.addConstant(value.name, tensor, value);
    for (const { node, index } of value.uses) node.setInput(index, moved);
    branch.outputs.forEach((output, index) => {
      if (output === value) branch.outputs[index] = moved;
    });
    branch.initializers.delete(value);
  }
}

/** Graph.remove drops the uses that a node and its subgraphs make; a moved node makes them again. */
function restoreUses(node: Node): void {
  for (const [index, input] of node.inputs.entries()) node.setInput(index, input);
  for (const subgraph of node.subgraphs) for (const inner of subgraph.nodes) restoreUses(inner);
}

/** Moves the nodes of `branch` in front of `node` and lets the readers of its outputs read the branch's results. */
function inline(node: Node, branch: Graph, scope: Scope): void {
  const { graph } = node;
  if (!graph) return;
  renameValues(branch, scope);
  moveConstants(branch, scope);
  const nodes = [...branch.nodes];
  const results: Value[] = [...branch.outputs];
  scope.editor.report(
    node,
    'removed',
    conditionalInlining.name,
    'its condition is the same in every run; the branch taken stands in its place',
  );
  branch.remove(nodes);
  graph.insertBefore(node, ...nodes);
  for (const moved of nodes) restoreUses(moved);
  const copies = node.outputs.flatMap((output, index) => {
    const result = results[index];
    return output && result ? [new Node({ opType: 'Identity', inputs: [result], outputs: [output] })] : [];
  });
  graph.insertBefore(node, ...copies);
  graph.remove([node]);
  scope.editor.noteGraphs();
}

function run(graph: Graph, scope: Scope): boolean {
  let changed = false;
  for (const node of [...graph.nodes]) {
    const branch = takenBranch(node, scope);
    if (!branch || branch.sparseInitializers.size > 0 || branch.quantizationAnnotations.length > 0) continue;
    inline(node, branch, scope);
    changed = true;
  }
  return changed;
}

export const conditionalInlining: GraphPass = { name: 'conditional-inlining', run };
