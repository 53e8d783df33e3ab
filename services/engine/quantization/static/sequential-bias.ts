/** Sequential bias correction: layer by layer, the mean of each channel returns to where the float model has it, with everything before quantized. */
import type { Model } from '../../ir/index.js';
import type { MethodContext, RunSource } from '../../method.js';
import { type MeanTensor, meanOutputs } from '../../normal-equations/mean-outputs.js';
import type { IntegerUnit } from './integer-units.js';
import { biasCodes, type LayerCodes } from './layer-codes.js';
import type { StaticInt8Options } from './options.js';
import { candidate, type QuantizedParts } from './static-candidate.js';

export interface SequentialRequest {
  /** The float model that was calibrated. */
  readonly model: Model;
  readonly units: readonly IntegerUnit[];
  readonly options: StaticInt8Options;
  readonly parts: QuantizedParts;
  readonly samples: RunSource;
}

/** Means of some tens of samples stand still; more would cost a run per layer each (methods.md 3.2: at least 64). */
const SAMPLES = 64;

/**
 * b_c += E[y_c] - E[y'_c], y the result of the layer before its activation in the float model, y' in the model with all units on codes
 * and the biases before it corrected (Nagel et al. 2019, arXiv 1906.04721, appendix D). Layers whose result cannot be seen keep theirs.
 */
export async function correctSequentially(request: SequentialRequest, context: MethodContext): Promise<ReadonlyMap<string, LayerCodes>> {
  const { model, units, parts, options } = request;
  const names = new Set(units.map(({ name }) => name));
  const samples = limited(request.samples);
  const seen = units.flatMap((unit) => tensorsOf(unit));
  const float = await meanOutputs({ model, tensors: seen.map(({ float: tensor }) => tensor), samples, context });
  const codes = new Map(parts.codes);
  for (const [index, { unit, float: before, quantized }] of seen.entries()) {
    context.signal.throwIfAborted();
    const built = candidate(model, names, { options: { ...options, format: 'qdq' }, parts: { ...parts, codes } });
    const after = (await meanOutputs({ model: built, tensors: [quantized], samples, context })).get(quantized.name);
    const corrected = after && shifted(unit, { codes, parts, before: float.get(before.name), after });
    if (corrected) codes.set(unit.name, corrected);
    context.progress((index + 1) / seen.length, `bias ${index + 1} of ${seen.length}`);
  }
  return codes;
}

/** The result of a layer before its activation: in the float model, and in the pairs that qdq-emission.ts writes. */
function tensorsOf(unit: IntegerUnit): { unit: IntegerUnit; float: MeanTensor; quantized: MeanTensor }[] {
  const { layer, output } = unit;
  if (layer?.kind !== 'conv') return [];
  const made = layer.node.outputs[0];
  if (!made) return [];
  const shape = { channels: layer.channels, axis: 'second' } as const;
  return [{ unit, float: { name: made.name, ...shape }, quantized: { name: `${output.name}_raw`, ...shape } }];
}

function shifted(
  unit: IntegerUnit,
  known: { codes: ReadonlyMap<string, LayerCodes>; parts: QuantizedParts; before: Float64Array | undefined; after: Float64Array },
): LayerCodes | null {
  const layer = known.codes.get(unit.name);
  const [activation] = unit.inputs;
  const input = activation && known.parts.parameters.get(activation.name);
  const { before, after } = known;
  if (!layer || !input || !before) return null;
  const real = Float32Array.from(before, (mean, channel) => (layer.bias?.real[channel] ?? 0) + mean - (after[channel] ?? mean));
  return { ...layer, bias: { real, codes: biasCodes(real, layer.scales, input.scale) } };
}

function limited(samples: RunSource): RunSource {
  const sampleCount = Math.min(SAMPLES, samples.sampleCount);
  return { ...samples, sampleCount, runs: (size, limit = sampleCount) => samples.runs(size, Math.min(limit, sampleCount)) };
}
