/** Constant nodes become initializers of the main graph, equal ones shared. */
import { allGraphs, bytesInMemory, float32Tensor, type Graph, int64Tensor, type Model, type Node, type Tensor } from '../ir/index.js';
import { ModelFacts } from './model-facts.js';
import type { GraphPass, PassScope } from './pass.js';

/** The tensor that a Constant node holds in any of its attribute forms; undefined for sparse_value and unknown forms. */
export function constantNodeTensor(node: Node): Tensor | undefined {
  const [attribute] = node.attributes.values();
  if (!attribute || node.attributes.size !== 1) return undefined;
  switch (attribute.kind) {
    case 'tensor':
      return attribute.value;
    case 'float':
      return float32Tensor([], [attribute.value]);
    case 'floats':
      return float32Tensor([attribute.value.length], attribute.value);
    case 'int':
      return int64Tensor([], [attribute.value]);
    case 'ints':
      return int64Tensor([attribute.value.length], attribute.value);
    case 'string':
      return { dataType: 'string', dims: [], data: bytesInMemory(new Uint8Array()), strings: [attribute.value] };
    case 'strings':
      return { dataType: 'string', dims: [attribute.value.length], data: bytesInMemory(new Uint8Array()), strings: attribute.value };
    default:
      return undefined;
  }
}

/** Facts of a model as it is, Constant nodes included: for rewrites that run without the evaluation of constants. */
export function factsOf(model: Model): ModelFacts {
  const facts = new ModelFacts(model);
  for (const graph of allGraphs(model)) {
    for (const node of graph.nodes) {
      const [output] = node.outputs;
      const tensor = node.opType === 'Constant' && node.domain === '' && output ? constantNodeTensor(node) : undefined;
      if (output && tensor) facts.learnConstant(output, tensor);
    }
  }
  facts.refresh();
  return facts;
}

function liftConstants(graph: Graph, { editor }: Omit<PassScope, 'graph'>): boolean {
  const lifted: Node[] = [];
  for (const node of graph.nodes) {
    const [output] = node.outputs;
    if (node.opType !== 'Constant' || node.domain !== '' || !output || editor.isGraphOutput(output)) continue;
    const tensor = constantNodeTensor(node);
    if (!tensor) continue;
    const value = editor.addConstant(output.name, tensor, output);
    for (const { node: reader, index } of output.uses) reader.setInput(index, value);
    editor.report(node, 'removed', constantNodes.name, 'a Constant node is an initializer');
    lifted.push(node);
  }
  graph.remove(lifted);
  return lifted.length > 0;
}

export const constantNodes: GraphPass = { name: 'constant-nodes-to-initializers', run: liftConstants };
