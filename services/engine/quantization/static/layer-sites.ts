/** Quantized layers as sites of a switchable float model: the rounded activation and the rounded weights of each. */

import type { SwitchableSite } from '../../evaluation/switchable-model.js';
import { transposed } from '../weight-quantization.js';
import type { IntegerUnit } from './integer-units.js';
import type { Layer, LayerCodes } from './layer-codes.js';
import type { QuantizedParts } from './static-candidate.js';

/** One site for each layer among `units`; its id is the name of the unit. */
export function layerSites(units: readonly IntegerUnit[], { parameters, codes }: QuantizedParts): SwitchableSite[] {
  return units.flatMap(({ name, layer }) => {
    const input = layer && parameters.get(layer.activation.name);
    const rounded = codes.get(name);
    if (!layer || !input || !rounded) return [];
    const activation = { tensor: layer.activation.name, scale: input.scale, zeroPoint: input.zeroPoint, dataType: input.type };
    const weight = { value: layer.weight.value.name, quantized: () => realWeights(layer, rounded) };
    return [{ id: name, alternatives: [{ activations: [activation], weights: [weight] }] }];
  });
}

/** scale * code in the layout of the float weight; alpha of Gemm, which the codes contain, is taken out again. */
export function realWeights(layer: Layer, { codes, scales, dims }: LayerCodes): Float32Array {
  const values = new Float32Array(codes.length);
  const scaleOf = (channel: number): number => scales[scales.length === 1 ? 0 : channel] ?? 1;
  if (layer.kind === 'conv') {
    for (let at = 0; at < codes.length; at += 1) values[at] = (codes[at] ?? 0) * scaleOf(Math.floor(at / layer.depth));
    return values;
  }
  const [depth = 1, channels = 1] = dims;
  for (let at = 0; at < codes.length; at += 1) values[at] = ((codes[at] ?? 0) * scaleOf(at % channels)) / layer.alpha;
  return layer.reductionAxis === 0 ? values : transposed(values, depth, channels);
}
