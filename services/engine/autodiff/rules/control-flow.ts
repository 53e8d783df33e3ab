/** Gradients of nodes with subgraphs. */
import { attributeOf, cloneGraph, type Graph, type GraphWriter, graphAttribute, type Value } from '../../ir/index.js';
import type { BackwardStep, GradientRule } from '../gradient-rule.js';

/** What a branch leaves must be its own, each value once. */
function ownOutputs(write: GraphWriter, values: readonly Value[]): Value[] {
  return values.map((value) => {
    const own = write.node('Identity', [value]);
    own.type = { kind: 'tensor', dataType: 'float32', shape: null };
    return own;
  });
}

/** The branch once more, as nothing inside a branch can be read from outside, with its backward graph behind it. */
function backwardBranch(step: BackwardStep, branch: Graph): Graph {
  const graph = cloneGraph(branch);
  const write = step.write.within(graph);
  const cotangents = new Map<Value, Value>();
  for (const [index, output] of graph.outputs.entries()) {
    const gradient = step.gradients[index];
    const earlier = cotangents.get(output);
    if (gradient) cotangents.set(output, earlier ? write.node('Add', [earlier, gradient]) : gradient);
  }
  const found = step.gradientsIn(graph, cotangents);
  const zeros = (value: Value): Value => write.node('Expand', [write.float(0), write.ints(step.shape(value))]);
  const results = step.captured.map((value) => found.get(value) ?? zeros(value));
  graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...ownOutputs(write, results));
  return graph;
}

/** The same condition chooses the branch on the way back; a value that a branch does not read has gradient 0 there. */
const conditional: GradientRule = (step) => {
  const { node, write, captured } = step;
  const [condition] = node.inputs;
  const [thenBranch, elseBranch] = [graphAttribute(node, 'then_branch'), graphAttribute(node, 'else_branch')];
  if (!condition || !thenBranch || !elseBranch || captured.length === 0) return [];
  const branches = {
    then_branch: attributeOf.graph(backwardBranch(step, thenBranch)),
    else_branch: attributeOf.graph(backwardBranch(step, elseBranch)),
  };
  const gradients = write.nodes('If', [condition], branches, captured.length);
  for (const [index, value] of captured.entries()) step.give(value, gradients[index] as Value);
  return [];
};

export const controlFlowRules = { If: conditional } as const satisfies Record<string, GradientRule>;
