/** Which operators give the same outputs for the same inputs, in every run and at every place in the graph. */
import type { Node } from '../ir/index.js';

/** Draw random numbers, unless a seed is given; even then two nodes are two draws. */
const randomOperators: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Multinomial',
  'Bernoulli',
]);

/** Operators with an optional training mode that draws or updates. */
const trainingOperators: ReadonlySet<string> = new Set(['Dropout', 'BatchNormalization']);

/** Domains whose operators onnxruntime documents as pure functions. A node of any other domain is a barrier. */
const pureDomains: ReadonlySet<string> = new Set(['', 'ai.onnx.ml', 'com.microsoft']);

const impureContribOperators: ReadonlySet<string> = new Set([
  'BiasDropout',
  'BitmaskDropout',
  'BitmaskBiasDropout',
  'Sampling',
  'RandomNormal',
]);

/** True when two nodes with equal inputs and attributes may be one, and when a node with constant inputs may be evaluated once. */
export function isDeterministic(node: Node): boolean {
  if (!pureDomains.has(node.domain) || node.overload !== '') return false;
  if (randomOperators.has(node.opType) || trainingOperators.has(node.opType)) return false;
  if (node.domain !== '' && impureContribOperators.has(node.opType)) return false;
  return node.subgraphs.every((graph) => graph.nodes.every(isDeterministic));
}
