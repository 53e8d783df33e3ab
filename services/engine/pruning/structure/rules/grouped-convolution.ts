/** Grouped and depthwise convolutions: each group loses as many channels as the others. */
import type { Node } from '../../../ir/index.js';
import { alongAxis, type SlotTensor } from '../slot-tensor.js';
import { type Carrier, type StructureScope, titleOf } from '../structure-scope.js';
import type { Track } from '../track.js';

export interface GroupedLayer {
  readonly node: Node;
  readonly data: Carrier;
  readonly weight: Carrier;
  readonly bias: Carrier | undefined;
  readonly group: number;
  /** Which of the first two axes of the weight holds all groups behind each other; the other one counts within a group. */
  readonly stacked: 'outputs' | 'inputs';
}

/** Conv: W [M, C/g, ...], outputs stacked. ConvTranspose: W [C, M/g, ...], inputs stacked. Slots of the outputs, along axis 1. */
export function groupedConvolution(scope: StructureScope, layer: GroupedLayer): Track | null {
  const { node, data, weight, bias, group, stacked } = layer;
  const [stackedSize = 0, innerSize = 0] = weight.dims;
  scope.pin(weight, `${titleOf(node)} keeps its kernel`, weight.dims.map((_, axis) => axis).slice(2));
  const stack = scope.single(weight, 0);
  if (!weight.constant || !stack || stackedSize % group !== 0) {
    scope.barrier(node, `${titleOf(node)} is grouped, with computed weights`);
    return null;
  }
  const input = scope.single(data, 1);
  const inner = innerTrack(scope, layer);
  const [outputs, inputs] = stacked === 'outputs' ? [stack, inner] : [inner, stack];
  const perGroup = stacked === 'outputs' ? [stackedSize / group, innerSize] : [innerSize, stackedSize / group];
  const outputList = listOf(outputs, { group, size: perGroup[0] ?? 1, isStacked: stacked === 'outputs' });
  const inputList = listOf(inputs, { group, size: perGroup[1] ?? 1, isStacked: stacked === 'inputs' });
  const why = `${titleOf(node)} reads channels that stay`;
  if (input) scope.unite({ dims: [inputList.length], ids: input.slots.ids }, { dims: [inputList.length], ids: inputList }, why);
  else scope.freeze({ dims: [inputList.length], ids: inputList }, why);
  if (perGroup[1] === 1) depthwise(scope, { inputs: inputList, outputs: outputList });
  else {
    balance(scope, inputList, group);
    balance(scope, outputList, group);
  }
  const own = bias && scope.single(bias, 0);
  if (own) scope.unite(own.slots, { dims: [outputList.length], ids: outputList }, why);
  if (node.outputs[0]) scope.mark({ node, role: 'producer', output: { value: node.outputs[0], axis: 1 } }, outputs);
  if (perGroup[1] !== 1) scope.mark({ node, role: 'consumer' }, inputs);
  return { axis: 1, rows: [], slots: alongAxis(outputList, 1, data.dims.length) };
}

/** Slots of the axis that counts within a group: other ones for the weights of each group. [stacked, inner, 1, ...] */
function innerTrack(scope: StructureScope, { weight, group }: GroupedLayer): Track {
  const [stackedSize = 1, innerSize = 1] = weight.dims;
  const present = scope.track(weight, 1);
  if (present) return present;
  const slots = scope.classes.make(group * innerSize);
  const ids = Int32Array.from({ length: stackedSize * innerSize }, (_, at) => {
    const row = Math.floor(Math.floor(at / innerSize) / (stackedSize / group));
    return slots[row * innerSize + (at % innerSize)] ?? 0;
  });
  const track: Track = { axis: 1, rows: [0], slots: { dims: weight.dims.map((size, axis) => (axis < 2 ? size : 1)), ids } };
  if (innerSize > 1) scope.adopt(weight, track);
  return track;
}

/** All channels, group after group, of a track of the weight. */
function listOf({ slots }: Track, { group, size, isStacked }: { group: number; size: number; isStacked: boolean }): Int32Array {
  if (isStacked) return slots.ids;
  const rows = slots.ids.length / size / group;
  return Int32Array.from({ length: group * size }, (_, at) => slots.ids[Math.floor(at / size) * rows * size + (at % size)] ?? 0);
}

/** One input for each group: it takes all the outputs of its group along. */
function depthwise(scope: StructureScope, { inputs, outputs }: { inputs: Int32Array; outputs: Int32Array }): void {
  const grid: SlotTensor = { dims: [inputs.length, outputs.length / inputs.length], ids: outputs };
  scope.unite(grid, { dims: [inputs.length, 1], ids: inputs }, 'they are convolved one by one with channels that stay');
}

function balance(scope: StructureScope, list: Int32Array, group: number): void {
  scope.balances.push({ axis: 1, rows: [0], slots: { dims: [group, list.length / group], ids: list } });
}
