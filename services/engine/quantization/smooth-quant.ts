/** SmoothQuant for static int8: outlier channels of the input of products move into their weights, at no cost where it can be. */
import { float32Values, graphsWithin, type Model, type Value } from '../ir/index.js';
import { type DenseLayer, denseLayer } from '../layers/dense-layers.js';
import { reportName, WeightStore } from '../layers/weight-store.js';
import type { NodeChange } from '../method.js';
import { factsOf } from '../passes/constant-nodes.js';
import type { ModelFacts } from '../passes/model-facts.js';
import type { ChannelStatistics } from '../timing/observed-activations.js';
import { smoothingFactors } from './activation-smoothing.js';
import { type ChannelWeights, channelWeights } from './channel-weights.js';
import { smoothActivation } from './integer-rewriting.js';
import { type ProductGroup, productGroups } from './product-groups.js';
import { foldDivision } from './weight-only/scale-folding.js';

const BY = 'smooth-quant';
/** A division that is folded costs nothing: the predicted noise needs only to fall by more than the prediction may err. */
const NOISE_SHARE_OF_FOLD = 0.9;

/**
 * x W = (x / s) (s W), with one vector s for all products that read x (Xiao et al. 2022, arXiv 2211.10438). The division goes into
 * the node that makes x (LayerNormalization, the projection of the values, a product, a gate); where that cannot be, a Mul makes it
 * if the predicted gain is large. `statistics` are of the last axis of the inputs of MatMul and Gemm, by tensor name; those of a
 * smoothed tensor no longer hold.
 */
export function smoothLayers(
  model: Model,
  statistics: ReadonlyMap<string, ChannelStatistics>,
): { readonly changes: readonly NodeChange[] } {
  const store = new WeightStore(model);
  const facts = factsOf(model);
  const layers = [...graphsWithin(model.graph)].flatMap(({ nodes }) => nodes.flatMap((node) => productOf(node, store) ?? []));
  const changes = [...new Set(productGroups(layers).values())].flatMap((group) => {
    const [first] = group.layers;
    const observed = first && statistics.get(first.activation.name);
    return observed ? smoothGroup(group, observed, { store, facts }) : [];
  });
  return { changes };
}

function productOf(node: DenseLayer['node'], store: WeightStore): DenseLayer | undefined {
  if (node.domain !== '' || (node.opType !== 'MatMul' && node.opType !== 'Gemm')) return undefined;
  const layer = denseLayer(node, store);
  return 'reason' in layer ? undefined : layer;
}

interface Surroundings {
  readonly store: WeightStore;
  readonly facts: ModelFacts;
}

function smoothGroup({ layers: all }: ProductGroup, observed: ChannelStatistics, about: Surroundings): NodeChange[] {
  // The weights as they are now: a group before this one may have folded its division into them.
  const layers = all.flatMap(({ node }) => productOf(node, about.store) ?? []);
  const weights = layers.flatMap(({ node }) => channelWeights(node, about.store) ?? []);
  const [first] = layers;
  if (!first || weights.length < all.length || layers.some(({ depth }) => depth !== observed.low.length)) return [];
  const how = divide(first.activation, layers, { observed, about });
  if (!how) return [];
  for (const weight of weights) scaleInputs(weight, how.factors, about.store);
  const reason = `outlier channels of "${first.activation.name}" moved into its weight by factors from ${how.range}; ${how.place} by them`;
  return layers.map(({ node }) => ({ node: reportName(node), op_type: node.opType, action: 'changed', by: BY, reason }));
}

interface Division {
  readonly factors: Float32Array;
  readonly place: string;
  readonly range: string;
}

/** Divides the activation where it is made or, for a larger gain, in front of its readers; undefined when neither is worth it. */
function divide(
  activation: Value,
  layers: readonly DenseLayer[],
  { observed, about }: { observed: ChannelStatistics; about: Surroundings },
): Division | undefined {
  const { store, facts } = about;
  const matrices = layers.map(({ weight, depth, channels, reductionAxis }) => ({
    ...{ values: float32Values(weight.tensor), depth, channels, reductionAxis },
  }));
  const folded = smoothingFactors(observed, matrices, NOISE_SHARE_OF_FOLD);
  const readers = new Set(layers.map(({ node }) => node));
  if (folded && foldDivision(activation, folded, { readers, store, facts }))
    return { factors: folded, place: 'the constants of what makes it are divided', range: rangeOf(folded) };
  const factors = smoothingFactors(observed, matrices);
  const [first] = layers;
  if (!factors || !first) return undefined;
  const divided = smoothActivation(store, first, factors);
  for (const { node } of layers) node.setInput(0, divided);
  return { factors, place: 'a Mul in front of it divides', range: rangeOf(factors) };
}

function rangeOf(factors: Float32Array): string {
  return `${Math.min(...factors).toPrecision(2)} to ${Math.max(...factors).toPrecision(2)}`;
}

function scaleInputs(weight: ChannelWeights, factors: Float32Array, store: WeightStore): void {
  weight.scale('input', factors);
  weight.write(store);
}
