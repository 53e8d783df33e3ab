/** The network as it will be: a copy with the rounded weights as floats in their places, and the biases that go with them. */
import { cloneModel, float32Tensor, type Model, type Node } from '../../ir/index.js';
import { shiftBias } from '../../layers/bias-shift.js';
import { channelDepth, fromRows } from '../../layers/channel-layout.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { RoundedLayer } from './layer-rounding.js';
import type { SequentialLayer } from './sequential-layer.js';

export class RoundedCopy {
  readonly model: Model;
  private readonly store: WeightStore;
  private readonly twins = new Map<Node, Node>();

  /** `model` stays as it is. */
  constructor(model: Model) {
    this.model = cloneModel(model);
    this.store = new WeightStore(this.model);
    for (const [at, node] of model.graph.nodes.entries()) {
      const twin = this.model.graph.nodes[at];
      if (twin) this.twins.set(node, twin);
    }
  }

  /** The weight of `layer`, for all that read it. Returns s q, [channels, depth]. */
  setCodes({ node, weight, layout }: SequentialLayer, { codes, scales }: RoundedLayer): Float64Array {
    const depth = channelDepth(layout);
    const values = Float64Array.from(codes, (code, at) => code * (scales[Math.floor(at / depth)] ?? 1));
    const old = this.store.constant(this.twins.get(node)?.inputs[1]);
    if (!old) return values;
    const { value } = this.store.add(old, '_rounded', float32Tensor(weight.tensor.dims, fromRows(values, layout, Float32Array)));
    for (const use of old.value.uses) use.node.setInput(use.index, value);
    this.store.dropIfUnread(old);
    return values;
  }

  /** False, with nothing changed, where no bias can be shifted. */
  shiftBias({ node }: Pick<SequentialLayer, 'node'>, shift: Float64Array): boolean {
    const twin = this.twins.get(node);
    return twin ? shiftBias(this.store, twin, shift) : false;
  }
}
