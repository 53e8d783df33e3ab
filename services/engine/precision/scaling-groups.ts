/** Which layers must be scaled together: those that write channels, and all that read them, over activations, branches and sums. */
import type { Model, Node, Value } from '../ir/index.js';
import { WeightStore } from '../layers/weight-store.js';
import { type ChannelWeights, channelWeights } from '../quantization/channel-weights.js';
import { isHomogeneous } from '../quantization/homogeneous-operators.js';

export interface ScalingGroup {
  /** Their outputs are divided by the factors. */
  readonly producers: readonly ChannelWeights[];
  /** Their inputs are multiplied. */
  readonly consumers: readonly ChannelWeights[];
  /** Names of the values that the consumers read. */
  readonly maps: readonly string[];
  readonly channels: number;
  readonly channelAxis: ChannelWeights['channelAxis'];
}

/**
 * Values that hang together through homogeneous operators and sums carry the same factors. A group is such a set in which every value
 * comes from a layer or from within, and is read by a layer or within: an input or output of the model, or any other operator at its
 * edge, is a barrier, and the set stays as it is.
 */
export function scalingGroups(model: Model, store = new WeightStore(model)): ScalingGroup[] {
  return new ScalingSets(model, store).groups();
}

class ScalingSets {
  private readonly layers = new Map<Node, ChannelWeights>();
  private readonly makers = new Map<Value, ChannelWeights>();
  private readonly parents = new Map<Value, Value>();

  constructor(
    private readonly model: Model,
    private readonly store: WeightStore,
  ) {
    for (const node of model.graph.nodes) {
      const layer = channelWeights(node, store);
      if (!layer) continue;
      this.layers.set(node, layer);
      this.makers.set(layer.output, layer);
    }
    for (const node of model.graph.nodes) {
      const [first, ...others] = this.joined(node);
      for (const other of others) if (first) this.parents.set(this.root(other), this.root(first));
    }
  }

  groups(): ScalingGroup[] {
    const sets = new Map<Value, Set<Value>>();
    const values = [...this.makers.keys(), ...this.parents.keys()];
    for (const value of values) {
      const root = this.root(value);
      sets.set(root, (sets.get(root) ?? new Set([root])).add(value));
    }
    return [...sets.values()].flatMap((set) => this.group(set) ?? []);
  }

  /** Values that `node` ties together: what a homogeneous operator reads and writes, the two sides of a sum and the sum. */
  private joined(node: Node): Value[] {
    const [left, right] = node.inputs;
    const [output] = node.outputs;
    if (!left || !output || this.makers.has(output)) return [];
    if (isHomogeneous(node, 'second')) return [left, output];
    const isSum = node.opType === 'Add' && node.domain === '' && right && !this.store.constant(left) && !this.store.constant(right);
    return isSum ? [left, right, output] : [];
  }

  private root(value: Value): Value {
    let root = value;
    for (let parent = this.parents.get(root); parent && parent !== root; parent = this.parents.get(root)) root = parent;
    return root;
  }

  private group(values: ReadonlySet<Value>): ScalingGroup | undefined {
    const producers = [...values].flatMap((value) => this.makers.get(value) ?? []);
    const [first] = producers;
    if (!first) return undefined;
    const { channelAxis } = first;
    const channels = first.channels('output');
    if (!producers.every((layer) => layer.canScaleOutputs && layer.channelAxis === channelAxis && layer.channels('output') === channels))
      return undefined;
    const consumers = new Map<Value, ChannelWeights[]>();
    for (const value of values) {
      if (!this.comesFromWithin(value, values, channelAxis)) return undefined;
      const read = this.readers(value, values, channelAxis);
      if (!read?.every((layer) => layer.channelAxis === channelAxis && layer.channels('input') === channels)) return undefined;
      if (read.length > 0) consumers.set(value, read);
    }
    if (consumers.size === 0) return undefined;
    const maps = [...consumers.keys()].map(({ name }) => name);
    return { producers, consumers: [...new Set([...consumers.values()].flat())], maps, channels, channelAxis };
  }

  private comesFromWithin(value: Value, values: ReadonlySet<Value>, axis: ChannelWeights['channelAxis']): boolean {
    const { producer } = value;
    if (!producer || this.store.isGraphOutput(value)) return false;
    return this.makers.has(value) || this.isInner(producer, values, axis);
  }

  private isInner(node: Node, values: ReadonlySet<Value>, axis: ChannelWeights['channelAxis']): boolean {
    const [output] = node.outputs;
    if (!output || !values.has(output) || node.graph !== this.model.graph || this.makers.has(output)) return false;
    return node.opType === 'Add' || isHomogeneous(node, axis);
  }

  /** The layers that read the value as their input; undefined when something else reads it. */
  private readers({ uses }: Value, values: ReadonlySet<Value>, axis: ChannelWeights['channelAxis']): ChannelWeights[] | undefined {
    const layers: ChannelWeights[] = [];
    for (const { node, index } of uses) {
      const layer = this.layers.get(node);
      if (layer && index === 0) layers.push(layer);
      else if (!this.isInner(node, values, axis) || (index !== 0 && node.opType !== 'Add')) return undefined;
    }
    return layers;
  }
}
