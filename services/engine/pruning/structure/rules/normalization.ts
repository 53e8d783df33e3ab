/** Normalizations: parameters follow their channels; statistics over the channels make a group approximate. */
import { intAttribute, type Node } from '../../../ir/index.js';
import { normalizeAxis } from '../../../passes/value-facts.js';
import { join, trailing } from '../join.js';
import { reshapedTrack } from '../reshaped-track.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import { axesOf, type Track } from '../track.js';
import type { StructureRule } from './rule.js';

/** With fewer groups than this, removing whole groups is too coarse. */
const WHOLE_GROUPS_MIN = 4;

function vectorsOf(node: Node, scope: StructureScope, first: number): Carrier[] {
  return node.inputs.flatMap((_, index) => (index >= first ? (scope.parameter(node, index) ?? []) : []));
}

/** BatchNormalization: inputs 1.. are vectors over axis 1 of input 0. */
export const perChannel: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  if (!data) {
    scope.barrier(node, `${titleOf(node)} has data of unknown shape`);
    return;
  }
  const vectors = vectorsOf(node, scope, 1).map((carrier) => ({ carrier, places: [1] }));
  scope.set(node.outputs[0], join(scope, node, data.dims.length, [{ carrier: data, places: [...data.dims.keys()] }, ...vectors]));
};

/**
 * InstanceNormalization: statistics over the axes behind the channels. Where channels stand there in rows, as in a group normalization
 * by Reshape, whole groups go and the rest stays exact; with few groups, or one, the statistics change.
 */
export const instanceNormalization: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  for (const track of data ? scope.tracks(data) : []) {
    if (!axesOf(track).some((axis) => axis > 1)) continue;
    if (track.rows.includes(1) && (data?.dims[1] ?? 1) >= WHOLE_GROUPS_MIN) wholeGroups(scope, track, 1);
    else scope.approximates(track.slots, `${titleOf(node)} normalizes over them`);
  }
  perChannel(node, scope);
};

/** All that stands in one group goes together. */
function wholeGroups(scope: StructureScope, track: Track, group: number): void {
  for (const axis of axesOf(track)) if (axis !== group) scope.uniteAlong(track.slots, axis);
  for (const id of track.slots.ids) scope.kinds.set(id, 'groups');
}

/** GroupNormalization: scale and bias hold one element per group until operator set 20, one per channel from 21 on. */
export const groupNormalization: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  const groups = intAttribute(node, 'num_groups', 1);
  const channels = data?.dims[1] ?? 0;
  const track = data && scope.single(data, 1);
  if (!data || channels % groups !== 0) {
    scope.barrier(node, `${titleOf(node)} has data of unknown shape`);
    return;
  }
  const grouped = track && reshapedTrack(scope, track, data.dims, [data.dims[0] ?? 1, groups, channels / groups, ...data.dims.slice(2)]);
  if (grouped && grouped.rows.length > 0 && groups >= WHOLE_GROUPS_MIN) wholeGroups(scope, grouped, 1);
  else if (grouped) {
    scope.approximates(grouped.slots, `${titleOf(node)} normalizes over them`);
    if (grouped.rows.length > 0) scope.balances.push(grouped);
  }
  const vectors = vectorsOf(node, scope, 1);
  const isPerChannel = vectors.every(({ dims }) => dims[0] === channels);
  if (isPerChannel) perChannel(node, scope);
  else {
    scope.set(node.outputs[0], scope.tracks(data));
    for (const carrier of vectors) perGroup(scope, node, carrier, grouped);
  }
};

function perGroup(scope: StructureScope, node: Node, carrier: Carrier, grouped: Track | null | undefined): void {
  const own = grouped && scope.single(carrier, 0);
  const why = `${titleOf(node)} normalizes over them`;
  if (!own || !grouped) scope.pin(carrier, why);
  else if (scope.kinds.get(grouped.slots.ids[0] ?? 0) !== 'groups') scope.freeze(own.slots, why);
  else {
    const rank = grouped.slots.dims.length;
    scope.unite(
      { dims: Array.from({ length: rank }, (_, axis) => (axis === 1 ? own.slots.ids.length : 1)), ids: own.slots.ids },
      grouped.slots,
      why,
    );
  }
}

/** LayerNormalization and its kin: statistics over all axes from `axis` on, along which the parameters stand. */
export function overLastAxes(inputs: { readonly added: readonly number[]; readonly parameters: readonly number[] }): StructureRule {
  return (node, scope) => {
    const summands = [0, ...inputs.added].flatMap((index) => (node.inputs[index] ? [scope.parameter(node, index)] : []));
    const parameters = inputs.parameters.flatMap((index) => (node.inputs[index] ? [scope.parameter(node, index)] : []));
    const carriers = [...summands, ...parameters];
    const rank = carriers[0]?.dims.length;
    if (rank === undefined || !carriers.every((carrier): carrier is Carrier => carrier !== undefined)) {
      scope.barrier(node, `${titleOf(node)} has data of unknown shape`);
      return;
    }
    const first = normalizeAxis(intAttribute(node, 'axis', -1), rank);
    const tracks = join(
      scope,
      node,
      rank,
      carriers.map((carrier) => trailing(carrier, rank)),
    );
    for (const track of tracks) {
      if (axesOf(track).some((axis) => axis >= first)) scope.approximates(track.slots, `${titleOf(node)} normalizes over them`);
    }
    scope.set(node.outputs[0], tracks);
    // Further outputs are statistics, of size 1 along the axes, or for the skip variants the sum.
    scope.set(node.outputs[3], inputs.added.length > 0 ? tracks : []);
  };
}

/** The divisor is a sum over the axis: an index that goes is an addend less, and the result of the others that of the masked model. */
export const lpNormalization: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  if (!data) return;
  const axis = normalizeAxis(intAttribute(node, 'axis', -1), data.dims.length);
  const tracks = scope.tracks(data);
  if (tracks.some((track) => axesOf(track).includes(axis))) scope.contractions.push({ node, index: 0, axis });
  for (const track of tracks) {
    if (track.axis !== axis && track.rows.includes(axis)) scope.uniteAlong(track.slots, axis);
    else if (track.axis === axis && track.rows.length > 0) scope.uniteAlong(track.slots, axis);
  }
  scope.set(node.outputs[0], scope.tracks(data));
};
