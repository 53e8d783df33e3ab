/** Fused attention: whole heads go, in queries, keys, values and outputs together; a key-value head takes its query heads along. */
import { intAttribute, intsAttribute, type Node, type Value } from '../../../ir/index.js';
import { alongAxis, collapsed, joined, picked, placed, type SlotTensor } from '../slot-tensor.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import type { StructureRule } from './rule.js';

/** Slots of heads: [heads]. */
type Heads = SlotTensor;

/** What stands along an axis of heads times head size. */
interface HeadAxis {
  readonly carrier: Carrier | undefined;
  readonly axis: number;
  readonly heads: number;
}

function packed(size: number, heads: number): number {
  return heads > 0 && size % heads === 0 ? size / heads : 0;
}

/** One slot for each head; its elements go together, along all other axes nothing goes. null when the heads cannot go. */
function headsOf(scope: StructureScope, node: Node, { carrier, axis, heads }: HeadAxis): Heads | null {
  if (!carrier) return null;
  const others = [...carrier.dims.keys()].filter((each) => each !== axis);
  scope.pin(carrier, `${titleOf(node)} needs all of them`, others);
  const track = scope.single(carrier, axis);
  const size = packed(track?.slots.ids.length ?? 0, heads);
  return track && size > 0 ? headsIn(scope, track.slots.ids, heads) : null;
}

function headsIn(scope: StructureScope, ids: Int32Array, heads: number): Heads {
  const grid = { dims: [heads, ids.length / heads], ids };
  scope.uniteAlong(grid, 1);
  for (const id of ids) scope.kinds.set(id, 'heads');
  return { dims: [heads], ids: collapsed(grid, 1).ids };
}

/** Query head i attends with key-value head floor(i / (query heads / key-value heads)). */
function tieHeads(scope: StructureScope, node: Node, query: Heads | null, others: readonly (Heads | null)[]): boolean {
  const why = `${titleOf(node)} pairs them with heads that stay`;
  const all = [query, ...others];
  const isFree = all.every((heads) => heads !== null);
  for (const heads of all) if (!isFree && heads) scope.freeze(heads, why);
  if (!isFree || !query) return false;
  for (const heads of others) {
    if (!heads) continue;
    const count = heads.ids.length;
    scope.unite({ dims: [count, query.ids.length / count], ids: query.ids }, { dims: [count, 1], ids: heads.ids }, why);
  }
  return true;
}

/** Each head repeated for its elements, along an axis of `value`. */
function setHeads(scope: StructureScope, value: Value | null | undefined, axis: number, heads: Heads): void {
  const carrier = value ? scope.carrier(value) : undefined;
  const each = carrier ? packed(carrier.dims[axis] ?? 0, heads.ids.length) : 0;
  if (!carrier || each === 0) {
    scope.freeze(heads, 'the shape of their output is not known');
    return;
  }
  const positions = Array.from({ length: heads.ids.length * each }, (_, at) => Math.floor(at / each));
  scope.set(value, [{ axis, rows: [], slots: alongAxis(picked(heads, 0, positions).ids, axis, carrier.dims.length) }]);
}

/** A mask or bias with an axis of heads goes along; with one of size 1 it serves all. */
function tieScores(scope: StructureScope, node: Node, index: number, query: Heads): void {
  const carrier = scope.parameter(node, index);
  if (!carrier) return;
  const axis = carrier.dims.length - 3;
  const others = [...carrier.dims.keys()].filter((each) => each !== axis);
  scope.pin(carrier, `${titleOf(node)} adds it to the scores`, others);
  if (axis < 0 || (carrier.dims[axis] ?? 1) === 1) return;
  const track = scope.single(carrier, axis);
  const why = `${titleOf(node)} adds scores of a fixed number of heads`;
  if (track) scope.unite(placed(query, [axis], carrier.dims.length), track.slots, why);
  else scope.freeze(query, why);
}

interface AttentionForm {
  readonly query: HeadAxis;
  readonly key: HeadAxis;
  readonly value: HeadAxis;
  /** Inputs that hold heads on axis 1: keys and values of the past. */
  readonly past: readonly number[];
  readonly scores: number | null;
}

/** Inputs 0 to 2 are projected queries, keys and values; outputs 1 and 2 the present ones. Returns the heads, null when they stay. */
function projected(scope: StructureScope, node: Node, form: AttentionForm): Heads | null {
  const query = headsOf(scope, node, form.query);
  const key = headsOf(scope, node, form.key);
  const value = headsOf(scope, node, form.value);
  const past = form.past.flatMap((index) =>
    node.inputs[index] ? [headsOf(scope, node, { carrier: scope.parameter(node, index), axis: 1, heads: form.key.heads })] : [],
  );
  if (!tieHeads(scope, node, query, [key, value, ...past]) || !query || !key) return null;
  if (form.scores !== null && node.inputs[form.scores]) tieScores(scope, node, form.scores, query);
  setHeads(scope, node.outputs[0], form.query.axis, query);
  for (const present of node.outputs.slice(1, 3)) if (present) setHeads(scope, present, 1, key);
  return query;
}

/** ai.onnx Attention: [batch, heads, length, size], or [batch, length, heads size] with the heads as attributes. */
export const attention: StructureRule = (node, scope) => {
  const [query, key, value] = [0, 1, 2].map((index) => scope.input(node, index));
  const isWide = query?.dims.length === 4;
  const axis = isWide ? 1 : 2;
  const heads = isWide ? (query?.dims[1] ?? 0) : intAttribute(node, 'q_num_heads', 0);
  const pairs = isWide ? (key?.dims[1] ?? 0) : intAttribute(node, 'kv_num_heads', 0);
  const scores = node.outputs[3];
  const found = projected(scope, node, {
    query: { carrier: query, axis, heads },
    key: { carrier: key, axis, heads: pairs },
    value: { carrier: value, axis, heads: pairs },
    past: [4, 5],
    scores: 3,
  });
  if (!found) scope.barrier(node, `${titleOf(node)} has heads that stay`);
  else if (scores) setHeads(scope, scores, 1, found);
};

/** com.microsoft MultiHeadAttention with separate queries, keys and values. */
export const multiHeadAttention: StructureRule = (node, scope) => {
  const heads = intAttribute(node, 'num_heads', 0);
  const parts = [0, 1, 2].map((index) => scope.input(node, index));
  const bias = node.inputs[3] ? scope.parameter(node, 3) : undefined;
  const of = (at: number): HeadAxis => ({ carrier: parts[at]?.dims.length === 3 ? parts[at] : undefined, axis: 2, heads });
  const lists = bias ? parts.map((part) => (part ? scope.single(part, 2) : undefined)) : [];
  const found = projected(scope, node, { query: of(0), key: of(1), value: of(2), past: [6, 7], scores: 5 });
  if (!found) {
    scope.barrier(node, `${titleOf(node)} has heads that stay, or packs queries, keys and values`);
    return;
  }
  const own = bias && scope.single(bias, 0);
  const known = lists.filter((track) => track !== undefined).map(({ slots }) => ({ dims: [slots.ids.length], ids: slots.ids }));
  if (own && known.length === 3) scope.unite(own.slots, joined(known, 0), `${titleOf(node)} adds a bias to them`);
};

/** com.microsoft GroupQueryAttention with separate queries, keys and values. */
export const groupQueryAttention: StructureRule = (node, scope) => {
  const of = (index: number, name: string): HeadAxis => ({
    carrier: scope.input(node, index),
    axis: 2,
    heads: intAttribute(node, name, 0),
  });
  const found = projected(scope, node, {
    query: of(0, 'num_heads'),
    key: of(1, 'kv_num_heads'),
    value: of(2, 'kv_num_heads'),
    past: [3, 4],
    scores: null,
  });
  if (!found) scope.barrier(node, `${titleOf(node)} has heads that stay, or packs queries, keys and values`);
};

/** Sizes of queries, keys and values in the weight of com.microsoft Attention. */
export function projectionSizes(node: Node, width: number): readonly number[] {
  const given = intsAttribute(node, 'qkv_hidden_sizes', []);
  return given.length === 3 ? given : [width / 3, width / 3, width / 3];
}

/** com.microsoft Attention: projects X [batch, length, I] by one weight [I, queries + keys + values] itself. */
export const projectingAttention: StructureRule = (node, scope) => {
  const [data, weight] = [scope.input(node, 0), scope.input(node, 1)];
  const bias = node.inputs[2] ? scope.parameter(node, 2) : undefined;
  const heads = intAttribute(node, 'num_heads', 0);
  const [output] = node.outputs;
  if (!data || !weight?.constant || node.inputs[4] || node.outputs.length > 1 || !output) {
    scope.barrier(node, `${titleOf(node)} keeps a past, or has computed weights`);
    return;
  }
  const list = scope.single(weight, 1);
  const sizes = projectionSizes(node, weight.dims[1] ?? 0);
  if (!list || sizes.some((size) => packed(size, heads) === 0)) {
    scope.barrier(node, `${titleOf(node)} has heads of unequal sizes`);
    return;
  }
  const starts = [0, sizes[0] ?? 0, (sizes[0] ?? 0) + (sizes[1] ?? 0)];
  const [query, ...others] = starts.map((start, at) => headsIn(scope, list.slots.ids.subarray(start, start + (sizes[at] ?? 0)), heads));
  if (!query || !tieHeads(scope, node, query, others)) return;
  scope.mark({ node, role: 'producer', output: { value: output, axis: 2 } }, list);
  const ownBias = bias && scope.single(bias, 0);
  if (ownBias) scope.unite(ownBias.slots, { dims: [list.slots.ids.length], ids: list.slots.ids }, `${titleOf(node)} adds a bias to them`);
  if (node.inputs[5]) tieScores(scope, node, 5, query);
  readInput(scope, node, data, weight);
  setHeads(scope, output, 2, query);
};

function readInput(scope: StructureScope, node: Node, data: Carrier, weight: Carrier): void {
  scope.pin(data, `${titleOf(node)} needs all of them`, [0, 1]);
  const track = scope.single(data, 2);
  if (!track) {
    scope.pin(weight, `${titleOf(node)} reads channels that stay`, [0]);
    return;
  }
  const own = scope.single(weight, 0);
  if (!own) return;
  scope.unite(
    { dims: [own.slots.ids.length], ids: own.slots.ids },
    { dims: [own.slots.ids.length], ids: track.slots.ids },
    `${titleOf(node)} reads them`,
  );
  scope.mark({ node, role: 'consumer' }, own);
}

/** RotaryEmbedding turns pairs inside heads: whole heads pass. [batch, heads, length, size] or [batch, length, heads size]. */
export const rotaryEmbedding: StructureRule = (node, scope) => {
  const data = scope.input(node, 0);
  const isWide = data?.dims.length === 4;
  const pairs = [1, 2, 3]
    .map((index) => scope.dims(node.inputs[index]))
    .find((dims) => (dims?.length ?? 0) >= 2)
    ?.at(-1);
  const width = data?.dims[2] ?? 0;
  const heads = isWide ? (data?.dims[1] ?? 0) : intAttribute(node, 'num_heads', 0) || Math.floor(width / (2 * (pairs ?? width)));
  const axis = isWide ? 1 : 2;
  for (const index of node.inputs.keys()) if (index > 0) scope.pin(scope.parameter(node, index), `${titleOf(node)} reads them as angles`);
  const found = headsOf(scope, node, { carrier: data, axis, heads });
  if (found) setHeads(scope, node.outputs[0], axis, found);
  else scope.barrier(node, `${titleOf(node)} turns features that stay`);
};
