/** The value path of attention: from the projection of the values to the merged heads, channel by channel. */
import { intsAttribute, type Node, type Value } from '../ir/index.js';
import type { WeightStore } from '../layers/weight-store.js';
import type { ModelFacts } from '../passes/model-facts.js';

/** What `reader`, the first node of the path, reads. */
export interface HeadMixingSource {
  readonly value: Value;
  readonly reader: Node;
}

export interface HeadMixingSearch {
  /** Size of the last axis of the merged value, which its readers prove where the shape is computed. */
  readonly channels: number;
  readonly facts: ModelFacts;
  readonly store: WeightStore;
}

const SWAP = [0, 2, 1, 3];

/**
 * merged = Reshape(Transpose(P Transpose(Reshape(y)))), with [B, S, H D] split to [B, S, H, D] and merged again: a row of P mixes
 * positions, never channels, so channel h D + d of `merged` is a sum of channel h D + d of y, and scaling one scales the other.
 * Returns y; undefined for any other structure, for sizes that are not known, and where something else reads a value on the way.
 */
export function headMixingSource(merged: Value, { channels, facts, store }: HeadMixingSearch): HeadMixingSource | undefined {
  const merge = merged.producer;
  const swapped = operand(merge, 'Reshape', 0);
  const product = operand(swapped?.producer, 'Transpose', 0);
  const values = operand(product?.producer, 'MatMul', 1);
  const split = operand(values?.producer, 'Transpose', 0);
  const source = operand(split?.producer, 'Reshape', 0);
  if (!swapped?.producer || !product || !values?.producer || !split?.producer || !source) return undefined;
  const isOwn = (value: Value): boolean => value.uses.length === 1 && !store.isGraphOutput(value);
  if (![swapped, product, values, split].every(isOwn) || ![swapped.producer, values.producer].every(swapsHeads)) return undefined;
  const before = facts.shape(split);
  const after = facts.shape(swapped);
  const [heads, size] = before?.slice(2) ?? [];
  if (before?.length !== 4 || after?.length !== 4 || typeof heads !== 'number' || typeof size !== 'number') return undefined;
  const isSameSplit = after[2] === heads && after[3] === size;
  const isWhole = heads * size === channels && facts.shape(source)?.at(-1) === channels;
  return isSameSplit && isWhole ? { value: source, reader: split.producer } : undefined;
}

function operand(node: Node | null | undefined, opType: string, index: number): Value | undefined {
  return node?.domain === '' && node.opType === opType ? (node.inputs[index] ?? undefined) : undefined;
}

function swapsHeads(transpose: Node): boolean {
  const order = intsAttribute(transpose, 'perm', []);
  return order.length === SWAP.length && order.every((axis, at) => axis === SWAP[at]);
}
