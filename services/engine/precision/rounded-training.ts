/** Quantization-aware training of a lowered model: weights, biases and steps moved after the float model, with every tensor rounded as in the file. */
import { cloneModel, float32Tensor, float32Values, type Model, type Tensor } from '../ir/index.js';
import type { MethodContext } from '../method.js';
import { upgradeOpset } from '../passes/opset-upgrade.js';
import { type TrainingTask, trainModel } from '../training/index.js';
import type { LoweredModel } from './lowered-model.js';
import { weightCode } from './narrow-codes.js';
import type { RecoveryOptions } from './options.js';
import { codesTensor, moveRounding } from './rounded-maps.js';
import { codeLayout, roundingEstimator, storedWeight, TrainedForm } from './trained-form.js';

const METHOD = 'precision-lowering';
/** Bounds are inputs, and gradients are known. */
const OPSET = 18;

export interface RoundedTraining {
  /** What the lowered model follows, and its losses are measured against; labels too, where the options name such losses. */
  readonly teacher: Model;
  readonly options: RecoveryOptions;
  /** Maps and initializers of codes whose scales stay as they are. */
  readonly keepsScale: (tensor: string) => boolean;
}

/** Edits the lowered model in place: codes, scales, bounds and float constants; names, types and widths stay. Throws what training throws. */
export async function trainLowered(lowered: LoweredModel, how: RoundedTraining, context: MethodContext): Promise<void> {
  const copy = cloneModel(lowered.model);
  upgradeOpset(copy, OPSET);
  const form = new TrainedForm(copy, how.keepsScale);
  for (const [name, codes] of lowered.maps) form.roundMap(name, codes);
  for (const { initializer, bits } of lowered.weights.values()) form.roundWeight(initializer, bits);
  const task: TrainingTask = {
    ...{ by: METHOD, defaults: { epochs: 1, learningRate: 1e-3 }, teacher: how.teacher },
    ...{ alsoTrained: form.logScales, estimator: roundingEstimator },
    options: { batch_normalization: 'fixed', ...how.options, trainable: form.trainable() },
  };
  /** A checkpoint is of the one training of a step, and this step may train several models. */
  const { checkpoints: _, ...unkept } = context;
  await trainModel(copy, task, unkept);
  adopt(lowered, form, copy);
}

function adopt({ model, maps, weights }: LoweredModel, form: TrainedForm, trained: Model): void {
  const found = new Map([...trained.graph.initializers].map(([{ name }, tensor]) => [name, tensor]));
  const scalesOf = (tensor: string): Float32Array => trainedScales(form, tensor, found);
  for (const [value, { dataType }] of model.graph.initializers) {
    const moved = found.get(value.name);
    if (moved && dataType === 'float32') model.graph.initializers.set(value, moved);
  }
  for (const [name, codes] of maps) moveRounding(model, name, { ...codes, scale: scalesOf(name)[0] ?? codes.scale });
  for (const { initializer, bits } of weights.values()) {
    const { value, codes, dequantize, scale, scales } = storedWeight(model, initializer);
    const moved = scalesOf(initializer);
    const { inner, count } = codeLayout(dequantize, codes.dims, scales);
    const float = found.get(form.floats.get(initializer) ?? '');
    if (!float) throw new Error(`training gave no weight for "${initializer}"`);
    const rounded = float32Values(float).map((each, at) => weightCode(each, moved[Math.floor(at / inner) % count] ?? 1, bits));
    model.graph.initializers.set(value, codesTensor(bits <= 8 ? 'int8' : 'int16', codes.dims, rounded));
    model.graph.initializers.set(scale, float32Tensor(scales.dims, moved));
  }
}

/** s0 e^t in float32, as the training graph computes it. */
function trainedScales({ scales }: TrainedForm, tensor: string, found: ReadonlyMap<string, Tensor>): Float32Array {
  const { start, logScale } = scales.get(tensor) ?? { start: new Float32Array(), logScale: null };
  const logs = logScale === null ? undefined : found.get(logScale);
  if (!logs) return start;
  const values = float32Values(logs);
  return start.map((scale, at) => Math.fround(scale * Math.fround(Math.exp(values[at] ?? 0))));
}
