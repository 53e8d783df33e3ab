/** Outlier channels of a transformer's activations, moved into the weights before ranges are calibrated. */
import { graphsWithin, type Model } from '../../ir/index.js';
import { denseLayer } from '../../layers/dense-layers.js';
import { WeightStore } from '../../layers/weight-store.js';
import type { MethodContext, NodeChange } from '../../method.js';
import { observeActivations } from '../../timing/observed-activations.js';
import { smoothLayers } from '../smooth-quant.js';

/** Scales of LayerNormalization make the channels of what it gives unequal (Xiao et al. 2022, arXiv 2211.10438): other networks have no such channels. */
export function hasUnequalChannels(model: Model): boolean {
  return [...graphsWithin(model.graph)].some(({ nodes }) => nodes.some(({ opType }) => opType === 'LayerNormalization'));
}

/** Exact but for rounding of float32. A model whose activations cannot be observed stays as it is. */
export async function smoothInputs(model: Model, context: MethodContext): Promise<readonly NodeChange[]> {
  const store = new WeightStore(model);
  const inputs = model.graph.nodes.flatMap((node) => {
    if (node.domain !== '' || (node.opType !== 'MatMul' && node.opType !== 'Gemm')) return [];
    const layer = denseLayer(node, store);
    return 'reason' in layer ? [] : [layer.activation];
  });
  if (inputs.length === 0) return [];
  const observed = await observeActivations(model, inputs, context);
  const statistics = new Map(
    [...observed].flatMap(([{ name }, activation]) => (activation.statistics ? [[name, activation.statistics]] : [])),
  );
  return smoothLayers(model, statistics).changes;
}
