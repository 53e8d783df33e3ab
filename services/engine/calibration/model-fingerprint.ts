/** One number for everything that a model computes: what tells whether statistics of before are statistics of this model. */
import { createHash, type Hash } from 'node:crypto';
import { type Attribute, allGraphs, type Graph, type Model, type Tensor, type Value } from '../ir/index.js';

/** SHA-256 over operators, attributes, connections by name, and weights. Comments and names of nodes do not count. */
export function modelFingerprint(model: Model): string {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([...model.opsetImports].sort()));
  for (const graph of allGraphs(model)) addGraph(hash, graph);
  return hash.digest('hex');
}

function addGraph(hash: Hash, graph: Graph): void {
  hash.update(JSON.stringify(['graph', names(graph.inputs), names(graph.outputs)]));
  for (const node of graph.nodes) {
    hash.update(JSON.stringify([node.domain, node.opType, node.overload, names(node.inputs), names(node.outputs)]));
    for (const [name, attribute] of [...node.attributes].sort(([a], [b]) => (a < b ? -1 : 1))) addAttribute(hash, name, attribute);
  }
  for (const [value, tensor] of graph.initializers) addTensor(hash, value.name, tensor);
  for (const [value, { values, indices, dims }] of graph.sparseInitializers) {
    hash.update(JSON.stringify(['sparse', value.name, dims]));
    addTensor(hash, 'values', values);
    addTensor(hash, 'indices', indices);
  }
}

function names(values: readonly (Value | null)[]): (string | null)[] {
  return values.map((value) => value?.name ?? null);
}

/** Graphs below follow on their own; of other kinds than these, which decide no values, the name is enough. */
function addAttribute(hash: Hash, name: string, { kind, value }: Attribute): void {
  hash.update(JSON.stringify([name, kind]));
  if (kind === 'tensor') addTensor(hash, name, value);
  else if (kind === 'tensors') for (const tensor of value) addTensor(hash, name, tensor);
  else if (kind === 'string') hash.update(value);
  else if (kind === 'int' || kind === 'ints' || kind === 'float' || kind === 'floats' || kind === 'reference') hash.update(`${value}`);
}

function addTensor(hash: Hash, name: string, { dataType, dims, data, strings = [] }: Tensor): void {
  hash.update(JSON.stringify(['tensor', name, dataType, dims, strings.length]));
  for (const chunk of data.chunks()) hash.update(chunk);
  for (const text of strings) hash.update(text);
}
