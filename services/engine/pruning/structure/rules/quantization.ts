/** QuantizeLinear and DequantizeLinear: one scale for all, or one for each index of an axis. */
import { intAttribute, isFloating, type Node } from '../../../ir/index.js';
import { join } from '../join.js';
import { isScalar, type StructureScope, titleOf } from '../structure-scope.js';
import { movable } from './movable.js';
import { ownAxis } from './own-axis.js';
import type { StructureRule } from './rule.js';

export const linearQuantization: StructureRule = (node, scope) => {
  const data = movable(node, scope, 0);
  const parameters = [1, 2].flatMap((index) => (node.inputs[index] ? [scope.parameter(node, index)] : []));
  if (!data || intAttribute(node, 'block_size', 0) !== 0 || !isZeroCentred(node, scope)) {
    scope.barrier(node, `${titleOf(node)} has scales in blocks, or a constant whose zero is not 0`);
    return;
  }
  const axis = ownAxis(node, data.dims.length, 1);
  const vectors = parameters.flatMap((carrier) => (carrier && !isScalar(carrier) ? [{ carrier, places: [axis] }] : []));
  const operands = [{ carrier: data, places: [...data.dims.keys()] }, ...vectors];
  scope.set(node.outputs[0], join(scope, node, data.dims.length, operands));
};

/** Weights are zeroed by writing 0: their zero point must be 0. */
function isZeroCentred(node: Node, scope: StructureScope): boolean {
  if (!scope.constant(node.inputs[0]) || !node.inputs[2]) return true;
  const zero = scope.constant(node.inputs[2]);
  if (!zero || isFloating(zero.dataType)) return false;
  return zero.data.read().every((byte) => byte === 0);
}
