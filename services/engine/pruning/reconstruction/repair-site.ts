/** Layers that can be repaired: what they see, what they compute in both networks, and how they are changed. */
import { float32Tensor, float32Values, floatAttribute, type Node, type Value } from '../../ir/index.js';
import { hasShiftableBias, shiftBias } from '../../layers/bias-shift.js';
import { channelCount, channelDepth, fromRows, toRows } from '../../layers/channel-layout.js';
import { type Constant, reportName, type WeightStore } from '../../layers/weight-store.js';
import type { RowLayer } from '../../normal-equations/layer-rows.js';
import type { WeightChange } from '../../normal-equations/least-squares.js';
import type { ProbeGraph } from '../../normal-equations/probe-graph.js';
import { type WeightRows, weightRows } from '../../normal-equations/weight-rows.js';
import type { KeptRows, Survivors } from '../structure/pruning-structure.js';
import { type PairedModels, picked, valueNamed } from './paired-probe.js';

/** Two values of a probe, [groups, O, rows] each: what a layer shall compute, and what it does. */
export interface Sides {
  readonly target: Value;
  readonly current: Value;
}

export interface RepairSite {
  readonly node: Node;
  /** Of the node in the report. */
  readonly name: string;
  readonly rows: RowLayer;
  readonly groups: number;
  /** Outputs O per group. */
  readonly outputs: number;
  /** What the layer computes; null when that is no value of the graph: the gates of a recurrent layer. */
  readonly output: Value | null;
  readonly hasBias: boolean;
  /** Why its weights stay as they are, and only its bias is repaired. */
  readonly obstacle?: string;
  /** The values whose difference the layer explains; `end`: its output, or a sum at whose end it stands. */
  sides(probe: ProbeGraph, pair: PairedModels, end: Value | null): Sides;
  change(change: WeightChange): void;
}

/** Elements of one Gram matrix, K x K, beyond which a layer is not refitted: its factor alone takes minutes. */
const DEPTH_MAX = 4096;

/** The site of a Conv, ConvTranspose, MatMul or Gemm of the pruned network, or why it has none. */
export function layerSite(node: Node, store: WeightStore, survivors: Survivors): RepairSite | { readonly reason: string } {
  const weight = store.constant(node.inputs[1]);
  const [output] = node.outputs;
  if (!weight || !output) return { reason: 'its weights are computed, not constant' };
  if (weight.tensor.dataType !== 'float32') return { reason: `its weights are ${weight.tensor.dataType}, not float32` };
  const form = weightRows(node, 1, weight.tensor);
  if (!form) return { reason: 'its weights are not multiplied from the right' };
  const kept = keptChannels(node, weight, { form, survivors });
  if (kept === undefined) return { reason: 'groups of its outputs were removed' };
  const channels = channelCount(form.layout);
  const isShared = weight.value.uses.length > 1 || store.isGraphOutput(weight.value);
  const obstacle = isShared ? 'its weights are shared with other nodes' : form.rows.depth > DEPTH_MAX ? TOO_DEEP : undefined;
  return {
    ...{ node, name: reportName(node), rows: form.rows, groups: form.groups, outputs: channels / form.groups, output },
    hasBias: hasShiftableBias(store, node, channels),
    ...(obstacle === undefined ? {} : { obstacle }),
    sides: (probe, pair, end) => {
      const name = (end ?? output).name;
      const sides = { current: valueNamed(probe, name), target: valueNamed(probe, pair.nameInOriginal(name)) };
      return form.rows.window ? mapSides(probe, sides, { form, channels, kept }) : denseSides(probe, sides, { channels, kept });
    },
    change: (change) => applyChange(store, node, { form, change, weight: store.constant(node.inputs[1]) ?? weight }),
  };
}

const TOO_DEEP = `it has more than ${DEPTH_MAX} inputs per output`;

/** The original's channels that the pruned layer computes, null for all of them; undefined where that cannot be told. */
function keptChannels(
  node: Node,
  weight: Constant,
  { form, survivors }: { form: WeightRows; survivors: Survivors },
): readonly number[] | null | undefined {
  const axes = survivors.get(weight.value.name);
  if (!axes) return null;
  if (node.opType === 'MatMul' || node.opType === 'Gemm') return onlyRow(axes.get(1 - form.inputAxis));
  if (node.opType === 'Conv') return onlyRow(axes.get(0));
  if (form.groups > 1) return axes.size > 0 ? undefined : null;
  return onlyRow(axes.get(1));
}

function onlyRow(rows: KeptRows | undefined): readonly number[] | null | undefined {
  return rows ? (rows.length === 1 ? rows[0] : undefined) : null;
}

interface Channels {
  readonly channels: number;
  readonly kept: readonly number[] | null;
}

/** [N, C, ...] to [g, C / g, N * ...], in the order of layerRows. */
function mapSides(probe: ProbeGraph, { target, current }: Sides, { form, channels, kept }: Channels & { form: WeightRows }): Sides {
  const { groups } = form;
  const outputs = channels / groups;
  const byGroup = (value: Value): Value =>
    probe.reshape(probe.transpose(probe.reshape(value, [0, groups, outputs, -1]), [1, 2, 0, 3]), [groups, outputs, -1]);
  return { target: byGroup(picked(probe, target, { kept, axis: 1 })), current: byGroup(current) };
}

/** [..., C] to [1, C, ...]. */
function denseSides(probe: ProbeGraph, { target, current }: Sides, { channels, kept }: Channels): Sides {
  const upright = (value: Value): Value => probe.transpose(probe.reshape(value, [1, -1, channels]), [0, 2, 1]);
  return { target: upright(picked(probe, target, { kept, axis: -1 })), current: upright(current) };
}

interface Application {
  readonly form: WeightRows;
  readonly change: WeightChange;
  readonly weight: Constant;
}

/** W += D^T / alpha, b += the bias. */
function applyChange(store: WeightStore, node: Node, { form, change, weight }: Application): void {
  const rows = toRows(float32Values(weight.tensor), form.layout);
  const depth = channelDepth(form.layout);
  const outputs = channelCount(form.layout) / form.groups;
  const alpha = node.opType === 'Gemm' ? floatAttribute(node, 'alpha', 1) : 1;
  for (let group = 0; group < form.groups; group += 1) {
    for (let k = 0; k < depth; k += 1) {
      for (let o = 0; o < outputs; o += 1) {
        const at = (group * outputs + o) * depth + k;
        rows[at] = (rows[at] ?? 0) + (change.weights[(group * depth + k) * outputs + o] ?? 0) / alpha;
      }
    }
  }
  store.replace(weight, float32Tensor(weight.tensor.dims, fromRows(rows, form.layout, Float32Array)));
  if (change.bias.some((value) => value !== 0)) shiftBias(store, node, change.bias);
}
