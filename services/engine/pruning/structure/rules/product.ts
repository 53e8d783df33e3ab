/** MatMul and Gemm: products of rows and columns, with weights or of two activations. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { contracted, join, type Operand, withoutSpaceAxes } from '../join.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import { axesOf } from '../track.js';
import type { StructureRule } from './rule.js';

interface ProductForm {
  readonly transposeLeft: boolean;
  readonly transposeRight: boolean;
}

/**
 * Y[..., m, n] = sum over k of A[..., m, k] B[..., k, n] (+ C): in the space [batch..., m, k, n] an elementwise product, summed over k.
 */
function product(node: Node, scope: StructureScope, { transposeLeft, transposeRight }: ProductForm): void {
  const [left, right] = [scope.input(node, 0), scope.input(node, 1)];
  const [leftRank, rightRank] = [left?.dims.length ?? 0, right?.dims.length ?? 0];
  if (!left || !right || leftRank < 2 || rightRank < 2) {
    scope.barrier(node, `${titleOf(node)} is no product of two matrices of known shape`);
    return;
  }
  const batch = Math.max(leftRank, rightRank) - 2;
  const [m, k, n] = [batch, batch + 1, batch + 2];
  const places = (carrier: Carrier, pair: readonly [number, number]): Operand => {
    const own = carrier.dims.length - 2;
    return { carrier, places: [...Array.from({ length: own }, (_, axis) => axis + batch - own), ...pair] };
  };
  const operands = [places(left, transposeLeft ? [k, m] : [m, k]), places(right, transposeRight ? [n, k] : [k, n])];
  for (const operand of operands) produce(scope, operand, k);
  const bias = scope.parameter(node, 2);
  if (bias) operands.push({ carrier: bias, places: bias.dims.map((_, axis) => (axis === bias.dims.length - 1 ? n : m)) });
  const tracks = join(scope, node, batch + 3, operands);
  markWeights(scope, node, operands.slice(0, 2), { k, n });
  const rowwise = tracks.filter((track) => axesOf(track).includes(k) && track.rows.length > 0);
  for (const { slots } of rowwise) for (const id of slots.ids) scope.kinds.set(id, 'heads');
  scope.set(node.outputs[0], withoutSpaceAxes(contracted(scope, tracks, k), [k]));
}

/** The axis of a weight that is not summed over makes new slots. */
function produce(scope: StructureScope, { carrier, places }: Operand, k: number): void {
  if (!carrier.constant) return;
  const axis = carrier.dims.length - (places.at(-1) === k ? 2 : 1);
  scope.single(carrier, axis);
}

function markWeights(scope: StructureScope, node: Node, operands: readonly Operand[], { k, n }: { k: number; n: number }): void {
  const [value] = node.outputs;
  for (const { carrier, places } of operands) {
    for (const track of scope.tracks(carrier)) {
      const place = places[track.axis] ?? 0;
      if (place === k) scope.mark({ node, role: 'consumer' }, track);
      else if (value && place >= k - 1) scope.mark({ node, role: 'producer', output: { value, axis: place === n ? k : k - 1 } }, track);
    }
  }
  const isWeighted = operands
    .slice(0, 2)
    .some(({ carrier, places }) => carrier.tracks.some((track) => places[track.axis] === k && carrier.constant));
  const data = operands[0];
  if (!isWeighted && data) {
    const axis = data.places.indexOf(k);
    if (scope.tracks(data.carrier).some((track) => axesOf(track).includes(axis))) scope.contractions.push({ node, index: 0, axis });
  }
}

export const matMul: StructureRule = (node, scope) => product(node, scope, { transposeLeft: false, transposeRight: false });

export const gemm: StructureRule = (node, scope) =>
  product(node, scope, { transposeLeft: intAttribute(node, 'transA', 0) === 1, transposeRight: intAttribute(node, 'transB', 0) === 1 });

/** com.microsoft: as MatMul, the last two axes of either side transposed on demand; moved batch axes are not followed. */
export const fusedMatMul: StructureRule = (node, scope) => {
  if (intAttribute(node, 'transBatchA', 0) === 1 || intAttribute(node, 'transBatchB', 0) === 1) {
    scope.barrier(node, `${titleOf(node)} moves its batch axes`);
    return;
  }
  product(node, scope, { transposeLeft: intAttribute(node, 'transA', 0) === 1, transposeRight: intAttribute(node, 'transB', 0) === 1 });
};
