/** Quantizes all weights in graph order, with what the samples say of their inputs: from the model as it is quantized so far, for GPTQ. */
import { attributeOf, cloneModel, type Model, type Tensor, type Value } from '../../ir/index.js';
import type { Constant } from '../../layers/weight-store.js';
import type { MethodContext } from '../../method.js';
import type { SharedWeight } from './block-layers.js';
import { algorithmsWithData, quantizeMatrix } from './block-quantization.js';
import { type BlockedWeights, type BlockScheme, widened } from './blocked-weights.js';
import { inputMoments, type Moments } from './input-moments.js';
import type { WeightAlgorithm } from './options.js';
import { momentsTensor, OutputErrors } from './output-error.js';
import { rowsOf, tensorOfRows } from './weight-matrices.js';

export interface FittingTask {
  readonly weight: SharedWeight;
  readonly scheme: BlockScheme;
}

export interface FittedWeight {
  readonly blocked: BlockedWeights;
  /** Axis of the weight along which the blocks run. */
  readonly axis: 0 | 1;
  readonly algorithm: WeightAlgorithm;
  /** Of the weights themselves, in dB. */
  readonly weightSqnr: number;
  /** Of the outputs of the first product that reads the weight, without its bias. */
  readonly outputSqnr?: number;
}

export interface Fitting {
  readonly model: Model;
  readonly algorithm: WeightAlgorithm;
  readonly context: MethodContext;
}

/** Samples from which scales are searched: more change the second moments little. */
export const SAMPLES_MAX = 128;
/**
 * Samples that second moments are taken from. Without error feedback, only the weight of each input counts: few tell. What follows the
 * moments most closely needs most: on 512 sentences instead of 128 a MiniLM answers unseen ones .9 dB better.
 */
const sampleLimits: { readonly [Name in WeightAlgorithm]: number } = {
  ...{ rtn: 32, mse: 32, hqq: 32, 'k-quant': 32 },
  ...{ gptq: SAMPLES_MAX, awq: SAMPLES_MAX, 'coordinate-descent': 512 },
};
/** They see the inputs as the layers quantized before make them. */
const sequentialAlgorithms: readonly WeightAlgorithm[] = ['gptq', 'coordinate-descent'];
/** Bytes of second moments that are held at a time. */
const MOMENTS_BYTES_MAX = 192 * 2 ** 20;
/** Passes over the samples in which a sequential algorithm sees the inputs as the quantized layers before it make them. */
const SEQUENTIAL_PASSES = 8;

export async function fitWeights(tasks: readonly FittingTask[], fitting: Fitting): Promise<Map<Constant, FittedWeight>> {
  const { context } = fitting;
  const fitted = new Map<Constant, FittedWeight>();
  const errors = context.calibration ? await OutputErrors.open(context.runtime) : null;
  try {
    for (const wave of wavesOf(tasks, fitting)) {
      const moments = await waveMoments(wave, fitting, fitted);
      for (const task of wave) {
        context.signal.throwIfAborted();
        const inputs = moments.get(observedName(task, fitting.model) ?? '');
        fitted.set(task.weight.constant, await fitWeight(task, { algorithm: fitting.algorithm, errors, inputs }));
        context.progress(fitted.size / tasks.length, `quantized ${fitted.size} of ${tasks.length} weights`);
      }
    }
  } finally {
    await errors?.close();
  }
  return fitted;
}

/** The input of the first product over the weight when it lies in the main graph, where it can be observed. */
export function observedInput({ weight }: FittingTask, { graph }: Model): Value | undefined {
  const product = weight.products.find(
    ({ node, integerObstacle, reductionAxis }) => node.graph === graph && !integerObstacle && reductionAxis === weight.axis,
  );
  return product?.activation;
}

function observedName(task: FittingTask, model: Model): string | undefined {
  return observedInput(task, model)?.name;
}

/** Tasks in graph order, in groups whose second moments fit in memory; for a sequential algorithm as many groups as there may be passes. */
export function wavesOf(tasks: readonly FittingTask[], { model, algorithm }: Fitting): FittingTask[][] {
  const inputs = new Set(tasks.map((task) => observedName(task, model)).filter((name) => name !== undefined));
  const inputsPerWave = sequentialAlgorithms.includes(algorithm) ? Math.ceil(inputs.size / SEQUENTIAL_PASSES) : Number.POSITIVE_INFINITY;
  const waves: FittingTask[][] = [];
  const seen = new Set<string>();
  let bytes = 0;
  for (const task of tasks) {
    const name = observedName(task, model);
    const isNew = name !== undefined && !seen.has(name);
    const added = isNew ? 8 * depthOf(task) ** 2 : 0;
    if (waves.length === 0 || (isNew && (seen.size >= inputsPerWave || bytes + added > MOMENTS_BYTES_MAX))) {
      waves.push([]);
      seen.clear();
      bytes = 0;
    }
    if (name !== undefined) seen.add(name);
    bytes += added;
    waves.at(-1)?.push(task);
  }
  return waves;
}

export function depthOf({ weight }: FittingTask): number {
  return weight.constant.tensor.dims[weight.axis] ?? 0;
}

function waveMoments(
  wave: readonly FittingTask[],
  { model, algorithm, context }: Fitting,
  fitted: ReadonlyMap<Constant, FittedWeight>,
): Promise<Map<string, Moments>> {
  const inputs = new Map<string, number>();
  for (const task of wave) {
    const name = observedName(task, model);
    if (name !== undefined) inputs.set(name, depthOf(task));
  }
  const observed = sequentialAlgorithms.includes(algorithm) && fitted.size > 0 ? withWidened(model, fitted) : model;
  return inputMoments(
    observed,
    [...inputs].map(([name, depth]) => ({ name, depth })),
    { context, sampleLimit: sampleLimits[algorithm] },
  );
}

interface FittingMeans {
  readonly algorithm: WeightAlgorithm;
  readonly errors: OutputErrors | null;
  readonly inputs: Moments | undefined;
}

async function fitWeight({ weight, scheme }: FittingTask, { algorithm: wanted, errors, inputs }: FittingMeans): Promise<FittedWeight> {
  const rows = rowsOf(weight.constant.tensor, weight.axis);
  // Error feedback would move the rows that lookups return: a table is rounded for itself.
  const hessian = weight.lookups.length > 0 ? undefined : inputs;
  const algorithm = algorithmsWithData.includes(wanted) && !hessian ? 'k-quant' : wanted;
  const blocked = quantizeMatrix(algorithm, { rows, scheme, hessian });
  const approximation = widened(blocked);
  const about = { blocked, axis: weight.axis, algorithm, weightSqnr: sqnr(rows.values, approximation) };
  if (!inputs || !errors) return about;
  return { ...about, outputSqnr: await errors.sqnr(rows, approximation, momentsTensor(inputs, rows.depth)) };
}

/** 10 log10(sum w^2 / sum (w - w')^2) in dB. */
function sqnr(values: Float32Array, approximation: Float32Array): number {
  let signal = 0;
  let noise = 0;
  for (let at = 0; at < values.length; at += 1) {
    signal += (values[at] ?? 0) ** 2;
    noise += ((values[at] ?? 0) - (approximation[at] ?? 0)) ** 2;
  }
  return noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise);
}

/** A copy of the model with what the codes stand for in place of the weights that are quantized already. */
function withWidened(model: Model, fitted: ReadonlyMap<Constant, FittedWeight>): Model {
  const copy = cloneModel(model);
  const tensors = new Map<string, Tensor>();
  for (const [{ value, graph }, { blocked, axis }] of fitted) {
    const { channels, depth } = blocked;
    if (graph === model.graph) tensors.set(value.name, tensorOfRows({ values: widened(blocked), channels, depth }, axis));
  }
  for (const value of [...copy.graph.initializers.keys()]) {
    const tensor = tensors.get(value.name);
    if (tensor) copy.graph.initializers.set(value, tensor);
  }
  for (const node of copy.graph.nodes) {
    const tensor = node.opType === 'Constant' ? tensors.get(node.outputs[0]?.name ?? '') : undefined;
    if (tensor) node.attributes.set('value', attributeOf.tensor(tensor));
  }
  return copy;
}
