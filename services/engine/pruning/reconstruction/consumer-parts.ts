/** The linear layers that read a group's units, each group of a convolution and each direction of a recurrent layer on its own. */
import { elementCount, float32Values, type Node, type Value } from '../../ir/index.js';
import { channelCount, toRows } from '../../layers/channel-layout.js';
import type { Constant, WeightStore } from '../../layers/weight-store.js';
import { type WeightRows, weightRows } from '../../normal-equations/weight-rows.js';
import type { Member, PruningGroup } from '../structure/pruning-structure.js';

export interface ConsumerWeight {
  readonly node: Node;
  readonly constant: Constant;
  readonly form: WeightRows;
  /** [outputs, K]. */
  readonly matrix: Float64Array;
}

export interface ConsumerPart {
  readonly weight: ConsumerWeight;
  /** Which of the weight's groups. */
  readonly group: number;
  /** Columns of the matrix by position of the unit. */
  readonly blocks: readonly (readonly number[])[];
}

/** Outputs of one group of a weight. */
export function outputsPerGroup({ form }: ConsumerWeight): number {
  return channelCount(form.layout) / form.groups;
}

/** Consumers whose weights are no constants of float32, or not multiplied from the right, are missing. */
export function consumerParts({ units }: PruningGroup, store: WeightStore): ConsumerPart[] {
  const weights = new Map<string, ConsumerWeight | null>();
  const blocks = new Map<ConsumerWeight, number[][][]>();
  for (const [position, { members }] of units.entries()) {
    for (const member of members.filter(({ role }) => role === 'consumer')) {
      const key = JSON.stringify([member.node.name, member.node.outputs[0]?.name, member.constant.name]);
      if (!weights.has(key)) weights.set(key, consumerWeight(member.node, member.constant, store));
      const weight = weights.get(key);
      if (!weight || member.axis !== weight.form.inputAxis) continue;
      const ofGroups = blocks.get(weight) ?? Array.from({ length: weight.form.groups }, () => units.map(() => []));
      blocks.set(weight, ofGroups);
      for (const { group, column } of columnsOf(member, weight)) ofGroups[group]?.[position]?.push(column);
    }
  }
  return [...blocks].flatMap(([weight, ofGroups]) =>
    ofGroups.flatMap((own, group) => (own.some((columns) => columns.length > 0) ? [{ weight, group, blocks: own }] : [])),
  );
}

function consumerWeight(node: Node, value: Value, store: WeightStore): ConsumerWeight | null {
  const constant = store.constant(value);
  if (constant?.tensor.dataType !== 'float32') return null;
  const form = weightRows(node, node.inputs.indexOf(value), constant.tensor);
  return form && { node, constant, form, matrix: toRows(float32Values(constant.tensor), form.layout) };
}

/** Where the slices of a member stand in the matrix: K of a convolution is [I/g, ...kernel]. */
function columnsOf({ indices, within }: Member, weight: ConsumerWeight): { group: number; column: number }[] {
  const { form, constant, node } = weight;
  const positions = elementCount(form.rows.window?.kernel ?? []);
  const { dims } = constant.tensor;
  const all = Array.from({ length: form.groups }, (_, group) => group);
  return indices.flatMap((index) => {
    const inGroup = node.opType === 'ConvTranspose' ? index % ((dims[0] ?? 1) / form.groups) : index;
    const columns = Array.from({ length: positions }, (_, position) => inGroup * positions + position);
    const groups =
      node.opType === 'ConvTranspose' ? [Math.floor((index * form.groups) / (dims[0] ?? 1))] : groupsWithin(all, within, weight);
    return groups.flatMap((group) => columns.map((column) => ({ group, column })));
  });
}

/** Groups of a convolution stand along its outputs, directions of a recurrent layer along the first axis: both are axis 0. */
function groupsWithin(all: readonly number[], within: Member['within'], { form, constant }: ConsumerWeight): readonly number[] {
  if (within?.axis !== 0) return all;
  const size = (constant.tensor.dims[0] ?? 1) / form.groups;
  return all.filter((group) => group * size >= within.from && group * size < within.to);
}
