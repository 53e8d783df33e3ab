/** Integer products that read one activation: they share its quantization, and the factors that smooth its outlier channels. */
import { float32Values, type Graph, type Value } from '../ir/index.js';
import type { DenseLayer } from '../layers/dense-layers.js';
import type { WeightStore } from '../layers/weight-store.js';
import type { ObservedActivation } from '../timing/observed-activations.js';
import { smoothingFactors } from './activation-smoothing.js';
import { type ProductInput, quantizeActivation, smoothActivation } from './integer-rewriting.js';

const OPSET_OF_DYNAMIC_QUANTIZE_LINEAR = 11;

export class ProductGroup {
  readonly layers: DenseLayer[] = [];
  /** By these the activation is divided and the weights are multiplied. */
  factors: Float32Array | undefined;
  private input: ProductInput | undefined;

  /** Chooses factors when statistics are known and no layer outside the group reads one of its weights. */
  smooth(observed: ObservedActivation | undefined, isReadElsewhere: (layer: DenseLayer) => boolean): void {
    const statistics = observed?.statistics;
    const [first] = this.layers;
    if (!statistics || statistics.low.length !== first?.depth || this.layers.some(isReadElsewhere)) return;
    const weights = this.layers.map(({ weight, depth, channels, reductionAxis }) => ({
      values: float32Values(weight.tensor),
      depth,
      channels,
      reductionAxis,
    }));
    this.factors = smoothingFactors(statistics, weights);
  }

  /** What the products read; made in front of the first of them that asks, which must be the first in the graph. */
  inputFor(layer: DenseLayer, store: WeightStore, opset: number): ProductInput {
    if (this.input) return this.input;
    const activation = this.factors ? smoothActivation(store, layer, this.factors) : layer.activation;
    const isShared = this.layers.length > 1 && opset >= OPSET_OF_DYNAMIC_QUANTIZE_LINEAR;
    this.input = isShared ? quantizeActivation(store, activation, layer.node) : { activation };
    return this.input;
  }
}

/** The groups of `layers`, which stand in graph order. A group lies in one graph: branches run separately. */
export function productGroups(layers: readonly DenseLayer[]): Map<DenseLayer, ProductGroup> {
  const byGraph = new Map<Graph | null, Map<Value, ProductGroup>>();
  const groups = new Map<DenseLayer, ProductGroup>();
  for (const layer of layers) {
    const inGraph = byGraph.get(layer.node.graph) ?? new Map<Value, ProductGroup>();
    byGraph.set(layer.node.graph, inGraph);
    const group = inGraph.get(layer.activation) ?? new ProductGroup();
    inGraph.set(layer.activation, group);
    group.layers.push(layer);
    groups.set(layer, group);
  }
  return groups;
}
