/** Operators that trade channels for space, and those that resize space. */
import { intAttribute, intsAttribute, stringAttribute } from '../../../ir/index.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import { sizeTokens } from '../size-operand.js';
import { alongAxis, collapsed, picked, placed } from '../slot-tensor.js';
import { titleOf } from '../structure-scope.js';
import { movable } from './movable.js';
import type { StructureRule } from './rule.js';

/** Output channel c is made of blocksize^2 input channels: in DCR order { b C + c }, in CRD order { c r^2 + b }. They go together. */
export const depthToSpace: StructureRule = (node, scope) => {
  const data = movable(node, scope, 0);
  const block = intAttribute(node, 'blocksize', 1) ** 2;
  if (data) scope.pin(data, `${titleOf(node)} mixes them with channels`, [2, 3]);
  const track = data && scope.single(data, 1);
  if (!data || !track) return;
  const count = track.slots.ids.length / block;
  const isDcr = stringAttribute(node, 'mode', 'DCR') === 'DCR';
  const grid = { dims: isDcr ? [block, count] : [count, block], ids: track.slots.ids };
  scope.uniteAlong(grid, isDcr ? 0 : 1);
  const { ids } = collapsed(grid, isDcr ? 0 : 1);
  scope.set(node.outputs[0], [{ axis: 1, rows: [], slots: alongAxis(ids, 1, 4) }, ...scope.tracks(data).filter(({ axis }) => axis === 0)]);
};

/** Output channel b C + c is input channel c at place b of the block. */
export const spaceToDepth: StructureRule = (node, scope) => {
  const data = movable(node, scope, 0);
  const block = intAttribute(node, 'blocksize', 1) ** 2;
  if (data) scope.pin(data, `${titleOf(node)} mixes them with channels`, [2, 3]);
  const track = data && scope.single(data, 1);
  if (!data || !track) return;
  const size = track.slots.ids.length;
  const slots = picked(
    track.slots,
    1,
    Array.from({ length: size * block }, (_, at) => at % size),
  );
  scope.set(node.outputs[0], [{ ...track, slots }, ...scope.tracks(data).filter(({ axis }) => axis === 0)]);
};

/** Axes that keep their size keep their slots; sizes that are given for them must be constants. */
export const resize: StructureRule = (node, scope) => {
  const data = movable(node, scope, 0);
  const [output] = node.outputs;
  const made = output ? scope.carrier(output) : undefined;
  const isCropping = stringAttribute(node, 'coordinate_transformation_mode', '') === 'tf_crop_and_resize';
  if (!data || made?.dims.length !== data.dims.length || isCropping) {
    scope.barrier(node, `${titleOf(node)} has an unknown shape`);
    return;
  }
  const resized = data.dims.flatMap((size, axis) => (size === made.dims[axis] ? [] : [axis]));
  scope.pin(data, `${titleOf(node)} interpolates along them`, resized);
  if (node.inputs[3]) {
    const rank = data.dims.length;
    const tokens = sizeTokens(node.inputs[3], scope);
    const axes = intsAttribute(node, 'axes', undefined)?.map((axis) => normalizeAxis(axis, rank)) ?? [...data.dims.keys()];
    const computed = axes.filter((_, at) => tokens?.[at]?.kind !== 'constant');
    scope.pin(data, `${titleOf(node)} computes their number`, computed);
  }
  scope.set(
    output,
    scope.tracks(data).map((track) => ({ ...track, slots: placed(track.slots, [...track.slots.dims.keys()], track.slots.dims.length) })),
  );
};
