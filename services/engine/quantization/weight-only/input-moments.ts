/** Second moments of the inputs of products on some of the samples: what importance, error feedback and scaling are computed from. */
import type { Model } from '../../ir/index.js';
import { firstSamples, type MethodContext } from '../../method.js';
import { gramMatrices } from '../../normal-equations/gram-matrices.js';

/** X^T X / n, [depth, depth]. */
export type Moments = Float64Array;

export interface ObservedInput {
  /** Name of a value of the main graph. */
  readonly name: string;
  readonly depth: number;
}

/** Moments by name; an input that the main graph does not make is missing. Empty without samples. */
export async function inputMoments(
  model: Model,
  inputs: readonly ObservedInput[],
  { context, sampleLimit }: { context: MethodContext; sampleLimit: number },
): Promise<Map<string, Moments>> {
  if (!context.calibration || inputs.length === 0) return new Map();
  const layers = inputs.map(({ name, depth }) => ({ activation: name, depth }));
  const grams = await gramMatrices({ model, layers, samples: firstSamples(context.calibration, sampleLimit), context });
  return new Map([...grams].filter(([, { rows }]) => rows > 0).map(([name, { gram, rows }]) => [name, divided(gram, rows)]));
}

function divided(values: Float64Array, by: number): Float64Array {
  for (let at = 0; at < values.length; at += 1) values[at] = (values[at] ?? 0) / by;
  return values;
}
