/** One rule for each operator the engine knows: total by type. What stands here as a barrier freezes what it reads, by name. */
import type { Node } from '../../../ir/index.js';
import { onnxOperators } from '../../../ops/operator-set.js';
import { type StructureScope, titleOf } from '../structure-scope.js';
import { convolution, transposedConvolution } from './convolution.js';
import { elementwise, passing, passingExcept } from './elementwise.js';
import { flatten, reshape, squeeze, transpose, unsqueeze } from './movement.js';
import { perChannel } from './normalization.js';
import { gemm, matMul } from './product.js';
import { reduction } from './reduction.js';
import type { StructureRule } from './rule.js';

function barrier(what: string): StructureRule {
  return (node, scope) => scope.barrier(node, `${titleOf(node)} ${what}`);
}

const pooling = passingExcept((_, rank) => Array.from({ length: Math.max(0, rank - 2) }, (__, at) => at + 2), 'slides over them');

const rules: Readonly<Record<string, StructureRule>> = {
  Conv: convolution,
  ConvTranspose: transposedConvolution,
  MatMul: matMul,
  Gemm: gemm,
  BatchNormalization: perChannel,
  Transpose: transpose,
  Reshape: reshape,
  Flatten: flatten,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  GlobalAveragePool: pooling,
  GlobalMaxPool: pooling,
  GlobalLpPool: pooling,
  AveragePool: pooling,
  MaxPool: pooling,
  LpPool: pooling,
  Identity: passing,
  ReduceMean: reduction('mean'),
  ReduceSum: reduction('sum'),
  ReduceMax: reduction('whole'),
};

export function structureRule(node: Node): StructureRule {
  const known = Object.hasOwn(rules, node.opType) ? rules[node.opType] : undefined;
  if (known) return known;
  const traits =
    node.domain === '' && Object.hasOwn(onnxOperators, node.opType) ? onnxOperators[node.opType as keyof typeof onnxOperators] : undefined;
  if (traits?.category === 'elementwise') return elementwise;
  return barrier('is an operator that pruning does not know');
}

export function applyRule(node: Node, scope: StructureScope): void {
  structureRule(node)(node, scope);
}
