/** Quantization-aware training: weights, biases and steps moved after the float model, with every tensor rounded as in the artifact. */
import { cloneModel, float32Tensor, float32Values, GraphWriter, type Model, NameAuthority } from '../ir/index.js';
import { toRows } from '../layers/channel-layout.js';
import type { MethodContext } from '../method.js';
import { roundedCodes, roundingEstimator, type RoundedWeight as TrainedWeight, trainRounded } from '../qat/rounded-weights.js';
import { codeLimits } from '../quantization/weight-storage/index.js';
import { type TrainingOptions, trainModel } from '../training/index.js';
import type { Observation } from './observed-points.js';
import { ArithmeticForm } from './point-form.js';
import { pointsOf, type QuantizationPlan } from './quantization-plan.js';
import { rewriteGraph } from './rewritten-graph.js';
import { biasNames, pointCodes, type Settings } from './simulated-model.js';

const METHOD = 'distribution-aware';
/** Names that qat knows its roundings by: they hand their gradient on. */
const STEM = 'qat';

export interface TrainingRequest {
  readonly plan: QuantizationPlan;
  readonly observation: Observation;
  readonly options: TrainingOptions;
  readonly context: MethodContext;
}

/**
 * The loops are written out, as gradients run through them backwards. A rounding passes its gradient where its codes do not saturate:
 * dy/dx = 1 inside; dy/ds = (code - zero) - x / s inside, code - zero at the ends (LSQ, methods.md 3.10). Zero points stay.
 */
export async function trainedSettings(
  start: Settings,
  model: Model,
  { plan, observation, options, context }: TrainingRequest,
): Promise<Settings> {
  const copy = cloneModel(model);
  const names = new NameAuthority(copy);
  const write = new GraphWriter(copy, names, copy.graph, STEM);
  const scales = new Map<string, string>();
  const form = new ArithmeticForm(write, ({ id }) => {
    const codes = pointCodes(start, id);
    const scale = write.constant(float32Tensor([codes.scales.length], codes.scales));
    const zeroPoint = write.constant(float32Tensor([codes.scales.length], Float32Array.from(codes.zeroPoints)));
    scales.set(id, scale.name);
    return { scale, zeroPoint, top: write.float(2 ** codes.bits - 1) };
  });
  const steps = new Map(plan.recurrents.map(({ input }) => [input.id, observation.firstAxes.get(input.id) ?? 1]));
  rewriteGraph(plan, { model: copy, names, write, form, steps });
  const biases = setBiases(copy, plan, start);
  const weights = plan.weights.map((planned) => trainedWeight(planned, start));
  const { trained, fixed, logScales } = trainRounded(copy, weights);
  const moved = [...trained, ...biases, ...scales.values()];
  const task = {
    ...{ by: METHOD, defaults: { epochs: 1, learningRate: 5e-4 }, alsoTrained: new Set(moved), estimator: roundingEstimator },
    ...{ options: { ...options, trainable: moved, frozen: [...fixed] }, teacher: context.source ?? model },
  };
  await trainModel(copy, task, context);
  const found = new Map([...copy.graph.initializers].map(([value, tensor]) => [value.name, tensor]));
  const values = (name: string | undefined): Float32Array => {
    const tensor = name === undefined ? undefined : found.get(name);
    return tensor ? float32Values(tensor) : new Float32Array();
  };
  return {
    ...start,
    weights: new Map(
      weights.map((weight) => {
        const { codes, scales: rows } = roundedCodes(weight, values(weight.name), values(logScales.get(weight.name)));
        const bits = start.weights.get(weight.name)?.bits ?? 8;
        return [weight.name, { bits, codes: Int32Array.from(toRows(codes, weight.layout)), scales: rows }];
      }),
    ),
    biases: new Map(biases.map((name) => [name, Float32Array.from(values(name))])),
    scales: new Map(
      pointsOf(plan).flatMap(({ id }) => (scales.has(id) ? [[id, positive(values(scales.get(id)), pointCodes(start, id).scales)]] : [])),
    ),
  };
}

/** A step that training carried to 0 or beyond is as it was. */
function positive(found: Float32Array, before: Float32Array): Float32Array {
  return before.map((scale, channel) => ((found[channel] ?? 0) > scale / 100 ? (found[channel] ?? scale) : scale));
}

/** The names of those that the model has, with the values that training starts from. */
function setBiases({ graph }: Model, plan: QuantizationPlan, { biases }: Settings): string[] {
  const wanted = new Set(biasNames(plan));
  return [...graph.initializers].flatMap(([value, { dims }]) => {
    if (!wanted.has(value.name)) return [];
    const start = biases.get(value.name);
    if (start) graph.initializers.set(value, float32Tensor(dims, start));
    return [value.name];
  });
}

function trainedWeight({ constant, layout }: QuantizationPlan['weights'][number], { weights }: Settings): TrainedWeight {
  const name = constant.value.name;
  const rounded = weights.get(name);
  if (!rounded) throw new RangeError(`trainedSettings: "${name}" is not rounded`);
  return { name, dims: constant.tensor.dims, layout, ...codeLimits(rounded.bits), codes: rounded.codes, scales: rounded.scales };
}
