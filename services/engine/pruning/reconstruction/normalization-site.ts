/** Normalizations as layers that can be repaired: what was removed before them has moved the statistics that they divide by. */
import { elementCount, float32Tensor, float32Values, intAttribute, type Node } from '../../ir/index.js';
import { type Constant, reportName, type WeightStore } from '../../layers/weight-store.js';
import { channelRows, type SingleChannels } from '../../normal-equations/layer-rows.js';
import type { Survivors } from '../structure/pruning-structure.js';
import { picked, valueNamed } from './paired-probe.js';
import type { RepairSite } from './repair-site.js';

const channelAxes: Readonly<Record<string, SingleChannels['axis']>> = {
  BatchNormalization: 'second',
  InstanceNormalization: 'second',
  LayerNormalization: 'last',
};

export function isNormalization({ opType, domain }: Node): boolean {
  return domain === '' && Object.hasOwn(channelAxes, opType);
}

/**
 * y = g x^ + b per channel, x^ normalized. The least squares fit of the original's output on y, (1 + d) y + s, is what new statistics
 * would do, and is reached by  g' = (1 + d) g,  b' = (1 + d) b + s.
 */
export function normalizationSite(node: Node, store: WeightStore, survivors: Survivors): RepairSite | { readonly reason: string } {
  const axis = channelAxes[node.opType];
  const [scale, shift] = [store.constant(node.inputs[1]), store.constant(node.inputs[2])];
  const [output] = node.outputs;
  if (!axis || !output || !scale || !shift || !isOwnVector(scale, store) || !isOwnVector(shift, store))
    return { reason: 'its scale and shift are no constant float32 vectors of its own' };
  if (axis === 'last' && intAttribute(node, 'axis', -1) !== -1) return { reason: 'it normalizes over several axes' };
  const channels = elementCount(scale.tensor.dims);
  const kept = survivors.get(scale.value.name)?.get(0)?.[0] ?? null;
  const single = { channels, axis };
  return {
    ...{ node, name: reportName(node), rows: { activation: output.name, depth: 1, single }, groups: channels, outputs: 1, output },
    hasBias: true,
    sides: (probe, pair, end) => {
      const name = (end ?? output).name;
      const target = picked(probe, valueNamed(probe, pair.nameInOriginal(name)), { kept, axis: axis === 'second' ? 1 : -1 });
      return { target: channelRows(probe, target, single), current: channelRows(probe, valueNamed(probe, name), single) };
    },
    change: ({ weights, bias }) => {
      const [oldScale, oldShift] = [store.constant(node.inputs[1]) ?? scale, store.constant(node.inputs[2]) ?? shift];
      const grown = ({ tensor }: Constant, added: (channel: number) => number) =>
        float32Tensor(
          tensor.dims,
          float32Values(tensor).map((value, channel) => (1 + (weights[channel] ?? 0)) * value + added(channel)),
        );
      store.replace(
        oldShift,
        grown(oldShift, (channel) => bias[channel] ?? 0),
      );
      store.replace(
        oldScale,
        grown(oldScale, () => 0),
      );
    },
  };
}

function isOwnVector({ tensor, value }: Constant, store: WeightStore): boolean {
  return tensor.dataType === 'float32' && tensor.dims.length === 1 && value.uses.length === 1 && !store.isGraphOutput(value);
}
