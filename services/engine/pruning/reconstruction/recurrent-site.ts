/** Weights of LSTM, GRU and RNN as layers that can be repaired: the gates' sums are no values of the graph, so the probe computes them. */
import { float32Tensor, float32Values, type Node, type Tensor, type Value } from '../../ir/index.js';
import { channelCount, channelDepth, fromRows, toRows } from '../../layers/channel-layout.js';
import { reportName, type WeightStore } from '../../layers/weight-store.js';
import { groupsOf, layerRows } from '../../normal-equations/layer-rows.js';
import type { WeightChange } from '../../normal-equations/least-squares.js';
import type { ProbeGraph } from '../../normal-equations/probe-graph.js';
import { type WeightRows, weightRows } from '../../normal-equations/weight-rows.js';
import type { KeptRows, Survivors } from '../structure/pruning-structure.js';
import { picked, valueNamed } from './paired-probe.js';
import type { RepairSite } from './repair-site.js';

export interface RecurrentRequest {
  readonly node: Node;
  /** 1: the weights of the inputs; 2: those of the states. */
  readonly index: 1 | 2;
  readonly store: WeightStore;
  readonly original: { readonly node: Node; readonly store: WeightStore };
  readonly survivors: Survivors;
}

/**
 * W' x' shall be the rows of W x that were kept, likewise R' h' those of R h: each direction d of R sees its own states,
 *   [d, gates * H, rows] = R [d, gates * H, H] h [d, H, rows].
 */
export function recurrentSite({ node, index, store, original, survivors }: RecurrentRequest): RepairSite | { readonly reason: string } {
  const weight = store.constant(node.inputs[index]);
  const before = original.store.constant(original.node.inputs[index]);
  const what = index === 1 ? 'its weights' : 'the weights of its states';
  if (weight?.tensor.dataType !== 'float32' || before?.tensor.dataType !== 'float32')
    return { reason: `${what} are no constant of float32` };
  const [form, form0] = [weightRows(node, index, weight.tensor), weightRows(original.node, index, before.tensor)];
  if (!form || !form0) return { reason: 'it does not give out its states' };
  if (weight.value.uses.length > 1) return { reason: `${what} are shared with other nodes` };
  const kept = keptRows(before.tensor, survivors.get(weight.value.name)?.get(1));
  const outputs = channelCount(form.layout) / form.groups;
  const current = (): Tensor => (store.constant(node.inputs[index]) ?? weight).tensor;
  return {
    ...{ node, name: reportName(node), rows: form.rows, groups: form.groups, outputs, output: null, hasBias: false },
    sides: (probe, pair) => ({
      current: gateSums(probe, form, current()),
      target: gateSums(probe, { ...form0, rows: renamed(form0, pair.nameInOriginal) }, before.tensor, { kept, outputs }),
    }),
    change: (change) => {
      const constant = store.constant(node.inputs[index]) ?? weight;
      store.replace(constant, changed(constant.tensor, form, change));
    },
  };
}

function renamed({ rows }: WeightRows, nameOf: (name: string) => string): WeightRows['rows'] {
  return { ...rows, activation: nameOf(rows.activation) };
}

/** Rows of [d * gates * H] that were kept: of one list for all directions, or of a list for each. */
function keptRows({ dims }: Tensor, kept: KeptRows | undefined): readonly number[] | null {
  if (!kept) return null;
  const [directions = 1, size = 1] = dims;
  return Array.from({ length: directions }, (_, direction) => {
    const list = kept[kept.length === 1 ? 0 : direction] ?? [];
    return list.map((row) => direction * size + row);
  }).flat();
}

/** [groups, O, rows]: the weight times the rows that it sees. */
function gateSums(
  probe: ProbeGraph,
  { rows, layout }: WeightRows,
  weight: Tensor,
  chosen: { kept: readonly number[] | null; outputs: number } = { kept: null, outputs: 0 },
): Value {
  const groups = groupsOf(rows);
  const depth = channelDepth(layout);
  const matrix = Float32Array.from(toRows(float32Values(weight), layout));
  const all = probe.constant(float32Tensor([matrix.length / depth, depth], matrix));
  const own = picked(probe, all, { kept: chosen.kept, axis: 0 });
  const inputs = layerRows(probe, valueNamed(probe, rows.activation), rows);
  return probe.node('MatMul', [probe.reshape(own, [groups, -1, depth]), inputs]);
}

function changed(tensor: Tensor, { layout, groups }: WeightRows, { weights }: WeightChange): Tensor {
  const rows = toRows(float32Values(tensor), layout);
  const depth = channelDepth(layout);
  const outputs = channelCount(layout) / groups;
  for (let group = 0; group < groups; group += 1) {
    for (let k = 0; k < depth; k += 1) {
      for (let o = 0; o < outputs; o += 1) {
        const at = (group * outputs + o) * depth + k;
        rows[at] = (rows[at] ?? 0) + (weights[(group * depth + k) * outputs + o] ?? 0);
      }
    }
  }
  return float32Tensor(tensor.dims, fromRows(rows, layout, Float32Array));
}
