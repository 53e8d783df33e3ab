/** BatchNormalization in front of matrix products folds into their weights. */
import { floatAttribute, intAttribute, type Node, type Tensor, type Value } from '../ir/index.js';
import { batchNormalizationAffine, type ChannelAffine } from './channel-affine.js';
import { floatTensor, floatValues } from './numeric-tensor.js';
import { permutation } from './operand-forms.js';
import type { Pass, PassScope } from './pass.js';
import type { Rewrite } from './rewrite.js';

/** A matrix product that reads the normalized value as its left operand. */
interface Product {
  readonly node: Node;
  readonly weight: Tensor;
  /** Gemm with transB stores [columns, rows]. */
  readonly isTransposed: boolean;
  /** The Add, or the Gemm itself, that adds a constant per column; undefined when a new Add is needed. */
  readonly bias: { readonly value: Value; readonly tensor: Tensor; readonly add: Node } | undefined;
}

function biasOf(product: Node, columns: number, scope: PassScope): Product['bias'] {
  const readers = product.outputs[0]?.consumers ?? [];
  const [add] = readers;
  const isSole = add?.inputs.some((input) => scope.editor.soleProducer(input) === product);
  if (!add || !isSole || add.opType !== 'Add' || add.domain !== '' || add.graph !== scope.graph) return undefined;
  const value = add.inputs.find((input) => input?.producer !== product);
  const tensor = scope.facts.constant(value);
  return value && tensor && floatValues(tensor) && tensor.dims.length === 1 && tensor.dims[0] === columns
    ? { value, tensor, add }
    : undefined;
}

/** A MatMul or Gemm whose weight is stored for it alone and whose contracted size is `rows`. */
function productOf(node: Node, normalized: Value, rows: number, scope: PassScope): Product | undefined {
  const weight = scope.editor.exclusiveConstant(node.inputs[1]);
  if (node.domain !== '' || node.inputs[0] !== normalized || !weight || weight.dims.length !== 2 || !floatValues(weight)) return undefined;
  if (node.graph !== scope.graph || node.inputs.filter((input) => input === normalized).length !== 1) return undefined;
  if (node.opType === 'MatMul') {
    const columns = weight.dims[1] ?? 0;
    return weight.dims[0] === rows ? { node, weight, isTransposed: false, bias: biasOf(node, columns, scope) } : undefined;
  }
  if (
    node.opType !== 'Gemm' ||
    intAttribute(node, 'transA', 0) !== 0 ||
    floatAttribute(node, 'alpha', 1) !== 1 ||
    floatAttribute(node, 'beta', 1) !== 1
  )
    return undefined;
  const isTransposed = intAttribute(node, 'transB', 0) !== 0;
  const value = node.inputs[2];
  const tensor = scope.facts.constant(value);
  const columns = weight.dims[isTransposed ? 0 : 1];
  if (
    weight.dims[isTransposed ? 1 : 0] !== rows ||
    !value ||
    tensor?.dims.length !== 1 ||
    tensor.dims[0] !== columns ||
    !floatValues(tensor)
  )
    return undefined;
  return { node, weight, isTransposed, bias: { value, tensor, add: node } };
}

/** W'[k, n] = s[k] W[k, n] and b'[n] = b[n] + sum over k of t[k] W[k, n], so that (x * s + t) W + b = x W' + b'. */
function foldedWeights(product: Product, affine: ChannelAffine): { weight: Tensor; bias: Tensor } {
  const values = floatValues(product.weight) ?? new Float32Array();
  const [first = 0, second = 0] = product.weight.dims;
  const [rows, columns] = product.isTransposed ? [second, first] : [first, second];
  const scaled = new Float64Array(values.length);
  const bias = new Float64Array(columns);
  const given = floatValues(product.bias?.tensor);
  for (let column = 0; column < columns; column += 1) {
    let sum = given?.[column] ?? 0;
    for (let row = 0; row < rows; row += 1) {
      const at = product.isTransposed ? column * rows + row : row * columns + column;
      scaled[at] = (values[at] ?? 0) * (affine.scale[row] ?? 1);
      sum += (values[at] ?? 0) * (affine.shift[row] ?? 0);
    }
    bias[column] = sum;
  }
  const { dataType, dims } = product.weight;
  return { weight: floatTensor(dataType, dims, scaled), bias: floatTensor(dataType, [columns], bias) };
}

/** The nodes that replace one product, and those that they replace. */
function foldInto(
  product: Product,
  source: Value,
  affine: ChannelAffine,
  scope: PassScope,
): { insert: Node[]; replaced: Node[]; at: Node } {
  const { node, bias } = product;
  const folded = foldedWeights(product, affine);
  const { editor } = scope;
  const weightValue = node.inputs[1];
  const weight = editor.addConstant(weightValue?.name ?? node.name, folded.weight, weightValue ?? undefined);
  const shift = editor.addConstant(bias?.value.name ?? `${weight.name}_bias`, folded.bias);
  if (node.opType === 'Gemm') {
    const gemm = editor.replacement(node, { opType: 'Gemm', inputs: [source, weight, shift], attributes: node.attributes });
    return { insert: [gemm], replaced: [node], at: node };
  }
  const last = bias?.add ?? node;
  const matMul = editor.copyWith(node, { inputs: [source, weight] });
  const add = editor.replacement(last, { opType: 'Add', inputs: [matMul.outputs[0] ?? null, shift] });
  return { insert: [matMul, add], replaced: bias ? [node, bias.add] : [node], at: last };
}

interface Normalized {
  readonly source: Value;
  readonly result: Value;
  readonly affine: ChannelAffine;
  readonly removed: readonly Node[];
}

/** The normalization alone for [N, C], or between two transpositions that bring C to the end and back. */
function normalizedLastAxis(node: Node, scope: PassScope): Normalized | undefined {
  const affine = batchNormalizationAffine(node, scope);
  const output = node.outputs[0];
  const rank = scope.facts.shape(node.inputs[0])?.length;
  if (!affine || !output || rank === undefined) return undefined;
  if (rank === 2) return { source: affine.data, result: output, affine, removed: [node] };
  const before = scope.editor.soleProducer(node.inputs[0]);
  const [after] = output.consumers;
  const source = before?.inputs[0];
  const result = after?.outputs[0];
  if (before?.opType !== 'Transpose' || after?.opType !== 'Transpose' || output.uses.length !== 1 || scope.editor.isGraphOutput(output))
    return undefined;
  if (before.graph !== scope.graph || after.graph !== scope.graph || !source || !result) return undefined;
  const inner = permutation(before, rank);
  const isInverse = permutation(after, rank).every((axis, at) => inner[axis] === at);
  return isInverse && inner[1] === rank - 1 ? { source, result, affine, removed: [before, node, after] } : undefined;
}

export const normalizationBelowMatMul: Pass = {
  name: 'normalization-below-matmul',
  opTypes: ['BatchNormalization'],
  rewrite(node, scope): Rewrite | null {
    const found = normalizedLastAxis(node, scope);
    if (!found || scope.editor.isGraphOutput(found.result)) return null;
    const { source, result, affine, removed } = found;
    const products = result.consumers.map((reader) => productOf(reader, result, affine.scale.length, scope));
    if (products.length === 0 || !products.every((product): product is Product => product !== undefined)) return null;
    const parts = products.map((product) => foldInto(product, source, affine, scope));
    return {
      reason: 'folded into the weights of the matrix products that read it',
      anchor: node,
      insertAt: parts.map(({ at, insert }) => ({ anchor: at, nodes: insert })),
      remove: removed,
      replaced: parts.flatMap(({ replaced }) => replaced),
    };
  },
};
