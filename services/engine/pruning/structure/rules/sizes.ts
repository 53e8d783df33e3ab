/** Operators that read or make sizes: Shape, and those that take a shape as an operand. */
import type { Node, Value } from '../../../ir/index.js';
import { type SizeToken, sizeReaders, sizeTokens } from '../size-operand.js';
import { picked, type SlotTensor } from '../slot-tensor.js';
import { type Carrier, isScalar, type StructureScope, titleOf } from '../structure-scope.js';
import { placedTrack, type Track } from '../track.js';
import { movable } from './movable.js';
import type { StructureRule } from './rule.js';

/** Operands that are shapes: their rules see to them. Inputs by operator. */
const shapeOperands: Readonly<Record<string, number>> = { Reshape: 1, Expand: 1, ConstantOfShape: 0, Resize: 3 };

/** Of a vector of sizes they tell how many there are, not which. */
const countingRank: ReadonlySet<string> = new Set(['Shape', 'Size']);

/** Sizes that are computed with, and not only copied into another shape, must stay. */
export const shape: StructureRule = (node, scope) => {
  const [sizes] = node.outputs;
  if (sizes) scope.obligations.push(() => pinComputedSizes(sizes, scope));
};

function pinComputedSizes(sizes: Value, scope: StructureScope): void {
  const pending = [sizes];
  const seen = new Set<Value>();
  for (let value = pending.pop(); value; value = pending.pop()) {
    if (seen.has(value)) continue;
    seen.add(value);
    const { carriers, readings } = sizeReaders(value);
    pending.push(...carriers);
    for (const reading of readings) {
      const { opType, domain } = reading.node;
      if (domain === '' && (shapeOperands[opType] === reading.index || countingRank.has(opType))) continue;
      pinTokens(scope, value, `${titleOf(reading.node)} computes with their number`);
    }
    if (scope.isReturned(value)) pinTokens(scope, value, `"${value.name}", their number, is returned`);
  }
}

function pinTokens(scope: StructureScope, value: Value, why: string): void {
  for (const token of sizeTokens(value, scope) ?? []) {
    if (token.kind === 'axis') scope.pin(scope.carrier(token.value), why, [token.axis]);
  }
}

/**
 * What a shape operand must say when everything is united: where the output becomes shorter, a constant can be edited and the size of
 * an axis that loses the same follows; anything else keeps its size.
 */
export function keepsUp(scope: StructureScope, node: Node, index: number): void {
  const [output] = node.outputs;
  const carrier = output ? scope.carrier(output) : undefined;
  if (!carrier) return;
  const why = `${titleOf(node)} has a computed shape`;
  const tokens = sizeTokens(node.inputs[index], scope);
  if (!tokens) scope.pin(carrier, why);
  const first = carrier.dims.length - (tokens?.length ?? 0);
  for (const [at, token] of (tokens ?? []).entries()) {
    if (token.kind === 'constant') continue;
    const axis = first + at;
    const source = scope.carrier(token.value);
    const [here, there] = [scope.track(carrier, axis), source && scope.track(source, token.axis)];
    if (here && there && isSame(scope, here, there)) continue;
    scope.pin(carrier, why, [axis]);
    scope.pin(source, why, [token.axis]);
  }
}

function isSame(scope: StructureScope, left: Track, right: Track): boolean {
  const { classes } = scope;
  const ids = right.slots.ids;
  return (
    left.rows.length === 0 &&
    right.rows.length === 0 &&
    left.slots.ids.length === ids.length &&
    left.slots.ids.every((id, at) => classes.find(id) === classes.find(ids[at] ?? 0))
  );
}

/** Slots for an axis that the node makes out of nothing, or repeats: new ones for a constant, those of the axis whose size it copies. */
function madeTrack(scope: StructureScope, token: SizeToken | undefined, carrier: Carrier, axis: number): Track | null {
  const rank = carrier.dims.length;
  if (token?.kind === 'constant') return scope.fresh(carrier.dims[axis] ?? 1, axis, rank);
  const source = token && scope.carrier(token.value);
  const track = source && scope.track(source, token.axis);
  if (!track || track.rows.length > 0 || source.dims[token.axis] !== carrier.dims[axis]) return null;
  const slots: SlotTensor = { dims: carrier.dims.map((size, at) => (at === axis ? size : 1)), ids: track.slots.ids };
  return { axis, rows: [], slots };
}

/** All elements are equal: it takes the slots of what it is combined with. */
export const constantOfShape: StructureRule = (node, scope) => {
  const [output] = node.outputs;
  const carrier = output ? scope.carrier(output) : undefined;
  if (carrier) carrier.isPliant = true;
  scope.obligations.push(() => keepsUp(scope, node, 0));
};

/** Axes of size 1 are repeated, others keep their slots. */
export const expand: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  const [output] = node.outputs;
  const made = output ? scope.carrier(output) : undefined;
  if (!carrier || !made) {
    scope.barrier(node, `${titleOf(node)} has an unknown shape`);
    return;
  }
  scope.obligations.push(() => keepsUp(scope, node, 1));
  made.isPliant = isScalar(carrier);
  if (made.isPliant) return;
  const shift = made.dims.length - carrier.dims.length;
  const places = carrier.dims.map((_, axis) => axis + shift);
  const tokens = sizeTokens(node.inputs[1], scope);
  const repeated = made.dims.flatMap((size, axis) => (size > 1 && (carrier.dims[axis - shift] ?? 1) === 1 ? [axis] : []));
  scope.set(output, [
    ...scope.tracks(carrier).map((track) => placedTrack(track, places, made.dims.length)),
    ...repeated.flatMap((axis) => madeTrack(scope, tokens?.[axis + (tokens.length - made.dims.length)], made, axis) ?? []),
  ]);
};

/** `repeats` copies of an axis behind each other. */
export const tile: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  const repeats = scope.facts.integers(node.inputs[1]);
  if (!carrier || repeats?.length !== carrier.dims.length) {
    scope.barrier(node, `${titleOf(node)} repeats an unknown number of times`);
    return;
  }
  const copies = (slots: SlotTensor): SlotTensor =>
    repeats.reduce((tensor, count, axis) => {
      const size = tensor.dims[axis] ?? 1;
      if (count === 1 || size === 1) return tensor;
      return picked(
        tensor,
        axis,
        Array.from({ length: size * count }, (_, at) => at % size),
      );
    }, slots);
  scope.set(
    node.outputs[0],
    scope.tracks(carrier).map((track) => ({ ...track, slots: copies(track.slots) })),
  );
};
