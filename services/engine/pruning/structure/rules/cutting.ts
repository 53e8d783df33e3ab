/** Operators that take indices of an axis: Split, Slice, Gather, Pad. The slots are taken the same way. */
import { intsAttribute, type Node, stringAttribute } from '../../../ir/index.js';
import { axisAttribute, clampSlice, type SliceAxis, sliceOperands } from '../../../passes/operand-forms.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import { picked, withoutAxes } from '../slot-tensor.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import { axesOf, settled, type Track } from '../track.js';
import { movable } from './movable.js';
import type { StructureRule } from './rule.js';

function range(from: number, count: number, step = 1): number[] {
  return Array.from({ length: count }, (_, at) => from + at * step);
}

/** The tracks of a piece of an axis; those that do not depend on it pass. */
function piece(tracks: readonly Track[], axis: number, indices: readonly number[]): Track[] {
  return tracks.map((track) => (axesOf(track).includes(axis) ? { ...track, slots: picked(track.slots, axis, indices) } : track));
}

/** Sizes of the parts; null when they are not known. */
function partSizes(node: Node, scope: StructureScope, size: number): readonly number[] | null {
  const given = intsAttribute(node, 'split', undefined) ?? (node.inputs[1] ? scope.facts.integers(node.inputs[1]) : undefined);
  if (given || node.inputs[1]) return given ?? null;
  const count = node.outputs.length;
  const each = Math.ceil(size / count);
  return Array.from({ length: count }, (_, at) => (at === count - 1 ? size - each * at : each));
}

export const split: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const axis = axisAttribute(node, 0, carrier.dims.length);
  const sizes = partSizes(node, scope, carrier.dims[axis] ?? 1);
  if (!sizes || (node.inputs[1] && !scope.constant(node.inputs[1]))) {
    scope.barrier(node, `${titleOf(node)} has parts of computed sizes`);
    return;
  }
  let start = 0;
  for (const [at, size] of sizes.entries()) {
    scope.set(node.outputs[at], piece(scope.tracks(carrier), axis, range(start, size)));
    start += size;
  }
};

export const slice: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const slices = sliceOperands(node, scope.facts);
  const isEditable = [1, 2].every((index) => !node.inputs[index] || scope.constant(node.inputs[index]));
  if (!slices) {
    scope.barrier(node, `${titleOf(node)} has computed bounds`);
    return;
  }
  let tracks = scope.tracks(carrier);
  for (const cut of slices) {
    if (!isEditable) scope.pin(carrier, `${titleOf(node)} has computed bounds`, [cut.axis]);
    tracks = sliced(scope, node, carrier, { cut, tracks });
  }
  scope.set(node.outputs[0], tracks);
};

/** Steps are kept by letting whole strides go; what lies in front of the slice must stay equal in all rows, as the slice itself. */
function sliced(
  scope: StructureScope,
  node: Node,
  carrier: Carrier,
  { cut, tracks }: { cut: SliceAxis; tracks: readonly Track[] },
): Track[] {
  const { axis, step } = cut;
  const size = carrier.dims[axis] ?? 1;
  const { start, count } = clampSlice(cut, size);
  for (const track of tracks) {
    if (track.axis !== axis) continue;
    if (Math.abs(step) > 1) byStrides(scope, node, track, step);
    if (track.rows.length > 0 && start > 0) scope.balances.push({ ...track, slots: picked(track.slots, axis, range(0, start)) });
  }
  return piece(tracks, axis, range(start, count, step));
}

function byStrides(scope: StructureScope, node: Node, track: Track, step: number): void {
  const size = track.slots.dims[track.axis] ?? 1;
  if (step < 0) scope.freeze(track.slots, `${titleOf(node)} walks backwards in strides`);
  for (let first = 0; first < size; first += step) {
    const stride = picked(track.slots, track.axis, range(first, Math.min(step, size - first)));
    if (first + step > size) scope.freeze(stride, `${titleOf(node)} walks in strides that do not end with them`);
    else scope.uniteAlong(stride, track.axis);
    if (step < 0) return;
  }
}

export const gather: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  const indices = scope.parameter(node, 1);
  if (!data || !indices) {
    scope.barrier(node, `${titleOf(node)} has an unknown shape`);
    return;
  }
  const axis = axisAttribute(node, 0, data.dims.length);
  if (data.isPliant) for (const other of data.dims.keys()) if (other !== axis) scope.single(data, other);
  const chosen = scope.constant(node.inputs[1]) ? scope.facts.integers(node.inputs[1]) : undefined;
  if (!chosen || indices.dims.length > 1) scope.pin(data, `${titleOf(node)} looks up any of them`, [axis]);
  scope.pin(indices, `${titleOf(node)} reads them as indices`);
  const size = data.dims[axis] ?? 1;
  const shift = indices.dims.length - 1;
  const tracks = scope.tracks(data).flatMap((track) => {
    if (!axesOf(track).includes(axis)) return [moved(track, axis, shift)];
    if (!chosen || indices.dims.length > 1) return [];
    const positions = chosen.map((at) => normalizeAxis(at, size));
    return gathered(scope, node, { track, axis, positions, keepsAxis: indices.dims.length === 1 });
  });
  scope.set(node.outputs[0], tracks);
  if (data.constant) markTable(scope, node, data, { axis, shift });
};

/** Axes behind the one that is looked up move by the rank of the indices. */
function moved({ axis, rows, slots }: Track, lookup: number, shift: number): Track {
  const place = (each: number): number => (each > lookup ? each + shift : each);
  const dims = [...slots.dims.slice(0, lookup), ...Array<number>(shift + 1).fill(1), ...slots.dims.slice(lookup + 1)];
  return { axis: place(axis), rows: rows.map(place), slots: { dims, ids: slots.ids } };
}

interface Lookup {
  readonly track: Track;
  readonly axis: number;
  readonly positions: readonly number[];
  readonly keepsAxis: boolean;
}

function gathered(scope: StructureScope, node: Node, { track, axis, positions, keepsAxis }: Lookup): Track[] {
  let source = track;
  if (track.axis === axis) {
    // An index means the same channel in all rows, and a single one that is asked for must stay.
    for (const row of track.rows) scope.uniteAlong(track.slots, row);
    source = settled(track, scope.classes);
    if (!keepsAxis) {
      scope.freeze(picked(source.slots, axis, positions), `${titleOf(node)} asks for this one`);
      return [];
    }
  }
  const taken = { ...source, slots: picked(source.slots, axis, positions) };
  if (keepsAxis) return [taken];
  const lower = (each: number): number => (each > axis ? each - 1 : each);
  const rows = taken.rows.filter((row) => row !== axis).map(lower);
  return [settled({ axis: lower(taken.axis), rows, slots: withoutAxes(taken.slots, [axis]) }, scope.classes)];
}

/** An embedding table makes the features that are looked up in it. */
function markTable(scope: StructureScope, node: Node, table: Carrier, { axis, shift }: { axis: number; shift: number }): void {
  const [value] = node.outputs;
  for (const track of scope.tracks(table)) {
    if (value && track.axis !== axis) {
      const place = track.axis > axis ? track.axis + shift : track.axis;
      scope.mark({ node, role: 'producer', output: { value, axis: place } }, track);
    }
  }
}

/** What is padded to an axis never goes; negative pads cut. */
export const pad: StructureRule = (node, scope) => {
  const carrier = movable(node, scope, 0);
  if (!carrier) return;
  const rank = carrier.dims.length;
  const given = intsAttribute(node, 'pads', undefined) ?? scope.facts.integers(node.inputs[1]);
  const axes = node.inputs[3] ? scope.facts.integers(node.inputs[3])?.map((axis) => normalizeAxis(axis, rank)) : range(0, rank);
  if (!given || !axes || given.length !== 2 * axes.length) {
    scope.barrier(node, `${titleOf(node)} pads by computed sizes`);
    return;
  }
  const isConstant = stringAttribute(node, 'mode', 'constant') === 'constant';
  let tracks = scope.tracks(carrier);
  for (const [at, axis] of axes.entries()) {
    const [before, behind] = [given[at] ?? 0, given[at + axes.length] ?? 0];
    if (before === 0 && behind === 0) continue;
    if (!isConstant || before < 0 || behind < 0) scope.pin(carrier, `${titleOf(node)} fills the axis with its own elements`, [axis]);
    const size = carrier.dims[axis] ?? 1;
    const positions = range(-before, Math.max(0, size + before + behind)).map((each) => (each < 0 || each >= size ? -1 : each));
    tracks = piece(tracks, axis, positions);
  }
  scope.set(node.outputs[0], tracks);
};
