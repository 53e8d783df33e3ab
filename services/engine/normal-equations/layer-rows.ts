/** The rows that a layer's weight is multiplied with, made inside a probe graph: as [group, depth, rows], whatever the operator. */
import { type Attribute, attributeOf, elementCount, intAttribute, type Node, type Value } from '../ir/index.js';
import { type ProbeGraph, windowCopies } from './probe-graph.js';

/** How a Conv or ConvTranspose walks over its input. */
export interface ConvolutionWindow {
  readonly opType: 'Conv' | 'ConvTranspose';
  /** Input channels I. */
  readonly channels: number;
  readonly kernel: readonly number[];
  readonly group: number;
  /** Strides, pads, dilations and so on, as the node has them. */
  readonly attributes: Readonly<Record<string, Attribute>>;
}

export interface RowLayer {
  /** Name of the activation in the main graph. */
  readonly activation: string;
  /** Inputs per output: the last axis of the activation of a MatMul, I/g * kh * kw of a convolution. */
  readonly depth: number;
  /** Absent for MatMul. */
  readonly window?: ConvolutionWindow;
  /** The activation is the output Y of a recurrent layer, the rows are its states: [group, depth, rows] with its directions as groups. */
  readonly states?: RecurrentStates;
  /** Each channel of the activation is a group of its own with one input: [channels, 1, rows]. */
  readonly single?: SingleChannels;
}

/** Where the channels lie: 'second' in maps, 'last' in sequences. */
export interface SingleChannels {
  readonly channels: number;
  readonly axis: 'second' | 'last';
}

/** How the states lie in Y: [steps, directions, batch, hidden], or [batch, steps, directions, hidden] with the batch first. */
export interface RecurrentStates {
  readonly directions: number;
  readonly batchFirst: boolean;
}

/** Parts of the outputs that are multiplied with different rows. */
export function groupsOf({ window, states, single }: RowLayer): number {
  return window?.group ?? states?.directions ?? single?.channels ?? 1;
}

/** The walk of a Conv or ConvTranspose with a weight of these dims, [O, I/g, ...kernel] or [I, O/g, ...kernel]. */
export function convolutionWindow(node: Node, weightDims: readonly number[]): ConvolutionWindow {
  const opType = node.opType === 'ConvTranspose' ? 'ConvTranspose' : 'Conv';
  const [first = 1, second = 1, ...kernel] = weightDims;
  const group = intAttribute(node, 'group', 1);
  const { group: _, kernel_shape: __, ...attributes } = Object.fromEntries(node.attributes);
  return { opType, channels: opType === 'Conv' ? second * group : first, kernel, group, attributes };
}

/** Layers with one signature have the same rows. */
export function rowSignature({ activation, window, states, single }: RowLayer): string {
  const attributes = Object.entries(window?.attributes ?? {}).map(([name, { kind, ...rest }]) => [
    name,
    kind,
    'value' in rest ? String(rest.value) : '',
  ]);
  return JSON.stringify([activation, window && { ...window, attributes }, states, single]);
}

/**
 * [group, depth, rows]. The rows of a convolution (im2col) come from a convolution itself: with one group per input channel
 * and weights that copy one position of the window each, it walks as the layer does, whatever its strides, pads and dilations.
 * The channels of its output are in the order of the flattened weight of one output, [I/g, ...kernel].
 */
export function layerRows(probe: ProbeGraph, activation: Value, { depth, window, states, single }: RowLayer): Value {
  if (single) return channelRows(probe, activation, single);
  if (states)
    return probe.reshape(probe.transpose(activation, states.batchFirst ? [2, 3, 0, 1] : [1, 3, 0, 2]), [states.directions, depth, -1]);
  if (!window) return probe.transpose(probe.reshape(activation, [1, -1, depth]), [0, 2, 1]);
  const { channels, kernel, group } = window;
  const copies = windowCopies(channels, kernel);
  const isTransposed = window.opType === 'ConvTranspose';
  const weight = isTransposed ? { ...copies, dims: [channels, elementCount(kernel), ...kernel] } : copies;
  const walk = probe.node(window.opType, [activation, probe.constant(weight)], { ...window.attributes, group: attributeOf.int(channels) });
  const grouped = probe.reshape(walk, [0, group, depth, -1]);
  return probe.reshape(probe.transpose(grouped, [1, 2, 0, 3]), [group, depth, -1]);
}

/** [channels, 1, rows] of [N, C, ...] or [..., C]. */
export function channelRows(probe: ProbeGraph, activation: Value, { channels, axis }: SingleChannels): Value {
  const first =
    axis === 'second'
      ? probe.transpose(probe.reshape(activation, [0, channels, -1]), [1, 0, 2])
      : probe.transpose(probe.reshape(activation, [-1, channels]), [1, 0]);
  return probe.reshape(first, [channels, 1, -1]);
}

/** Every `step`-th of the rows. */
export function everyRow(probe: ProbeGraph, rows: Value, step: number): Value {
  if (step === 1) return rows;
  return probe.node('MaxPool', [rows], { kernel_shape: attributeOf.ints([1]), strides: attributeOf.ints([step]) });
}
