/** LSTM, GRU and RNN: hidden units of each direction, with the rows of all their gates, and the inputs. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { picked, placed, type SlotTensor } from '../slot-tensor.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import type { Track } from '../track.js';
import type { StructureRule } from './rule.js';

const gatesOf: Readonly<Record<string, number>> = { LSTM: 4, GRU: 3, RNN: 1 };

interface Recurrence {
  readonly node: Node;
  readonly gates: number;
  readonly directions: number;
  readonly hidden: number;
  readonly data: Carrier;
  readonly weights: Carrier;
  readonly recurrence: Carrier;
}

function recurrenceOf(node: Node, scope: StructureScope): Recurrence | null {
  const [data, weights, recurrence] = [scope.input(node, 0), scope.input(node, 1), scope.input(node, 2)];
  const gates = gatesOf[node.opType];
  if (!data || !weights?.constant || !recurrence?.constant || gates === undefined || data.dims.length !== 3) return null;
  const [directions = 1, , hidden = 0] = recurrence.dims;
  return { node, gates, directions, hidden, data, weights, recurrence };
}

/**
 * W [d, gates H, I], R [d, gates H, H], B [d, 2 gates H], P [d, 3 H], states [d, batch, H]: unit (d, h) is row g H + h of all gates g,
 * and column h of R. Directions are rows: each must lose the same number.
 */
export const recurrent: StructureRule = (node, scope) => {
  const layer = recurrenceOf(node, scope);
  if (!layer || intAttribute(node, 'layout', 0) !== 0) {
    scope.barrier(node, `${titleOf(node)} has computed weights or another layout`);
    return;
  }
  const { directions, hidden, gates } = layer;
  const units: SlotTensor = { dims: [directions, hidden], ids: scope.classes.make(directions * hidden) };
  const why = `${titleOf(node)} keeps them in its state`;
  const rowsOfGates = (count: number): SlotTensor =>
    picked(
      units,
      1,
      Array.from({ length: hidden * count }, (_, at) => at % hidden),
    );
  bind(scope, layer.weights, { slots: rowsOfGates(gates), axis: 1, role: { node, role: 'producer' } });
  bind(scope, layer.recurrence, { slots: rowsOfGates(gates), axis: 1, role: { node, role: 'producer' } });
  bind(scope, layer.recurrence, { slots: units, axis: 2, role: { node, role: 'consumer' } });
  const [bias, peepholes] = [scope.parameter(node, 3), scope.parameter(node, 7)];
  if (bias) bind(scope, bias, { slots: rowsOfGates(2 * gates), axis: 1 });
  if (peepholes) bind(scope, peepholes, { slots: rowsOfGates(3), axis: 1 });
  for (const index of [5, 6]) tieState(scope, node, { index, units, why });
  consumeInput(scope, layer);
  setOutputs(scope, node, units);
};

interface Binding {
  /** [directions, size of the axis]. */
  readonly slots: SlotTensor;
  readonly axis: number;
  readonly role?: Parameters<StructureScope['mark']>[0];
}

/** Gives a constant [directions, ...] slots of its own along `axis`, tied to the units. */
function bind(scope: StructureScope, carrier: Carrier, { slots, axis, role }: Binding): void {
  const rank = carrier.dims.length;
  const wanted = placed(slots, [0, axis], rank);
  const present = scope.track(carrier, axis);
  const own: Track = present ?? {
    axis,
    rows: (slots.dims[0] ?? 1) > 1 ? [0] : [],
    slots: { dims: wanted.dims, ids: scope.classes.make(wanted.ids.length) },
  };
  if (!carrier.isPliant) {
    if (present) scope.unite(present.slots, wanted, 'a recurrent layer reads them');
    else scope.freeze(wanted, `its parameter "${carrier.value.name}" is computed`);
    return;
  }
  if (!present) scope.adopt(carrier, own);
  scope.unite(own.slots, wanted, 'a recurrent layer reads them');
  if (role) scope.mark(role.role === 'producer' ? { ...role, ...outputOf(role.node) } : role, own);
}

/** Hidden units stand on the last axis of Y, or of Y_h where nobody reads Y. */
function outputOf(node: Node): { output?: { value: NonNullable<Node['outputs'][number]>; axis: number } } {
  const [all, last] = node.outputs;
  if (all) return { output: { value: all, axis: 3 } };
  return last ? { output: { value: last, axis: 2 } } : {};
}

/** Initial states [directions, batch, hidden] go along; one that comes from elsewhere keeps all units. */
function tieState(scope: StructureScope, node: Node, { index, units, why }: { index: number; units: SlotTensor; why: string }): void {
  if (!node.inputs[index]) return;
  const carrier = scope.parameter(node, index);
  const wanted = placed(units, [0, 2], 3);
  if (carrier?.isPliant) bind(scope, carrier, { slots: units, axis: 2 });
  const track = carrier && scope.track(carrier, 2);
  if (track) scope.unite(track.slots, wanted, why);
  else scope.freeze(wanted, `"${node.inputs[index]?.name ?? ''}", their initial state, keeps its size`);
}

/** X [sequence, batch, I] meets the last axis of W in all directions. */
function consumeInput(scope: StructureScope, { node, data, weights }: Recurrence): void {
  scope.pin(data, `${titleOf(node)} walks along them`, [0, 1]);
  const track = scope.single(data, 2);
  if (!track) {
    scope.pin(weights, `${titleOf(node)} reads channels that stay`, [2]);
    return;
  }
  const own = scope.single(weights, 2);
  if (!own) return;
  scope.unite(own.slots, placed(track.slots, [0, 1, 2], 3), `${titleOf(node)} reads them`);
  scope.mark({ node, role: 'consumer' }, own);
}

/** Y [sequence, directions, batch, hidden]; Y_h and Y_c [directions, batch, hidden]. */
function setOutputs(scope: StructureScope, node: Node, units: SlotTensor): void {
  const isBoth = (units.dims[0] ?? 1) > 1;
  scope.set(node.outputs[0], [{ axis: 3, rows: isBoth ? [1] : [], slots: placed(units, [1, 3], 4) }]);
  for (const state of node.outputs.slice(1)) scope.set(state, [{ axis: 2, rows: isBoth ? [0] : [], slots: placed(units, [0, 2], 3) }]);
}
