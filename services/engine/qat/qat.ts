/** Quantization-aware training: layers in few bits, trained as they will be rounded, after the model as it came in. */
import { EngineError } from '../engine-errors.js';
import { cloneModel, float32Tensor, float32Values, type Model, type Node, type Tensor } from '../ir/index.js';
import { shiftBias } from '../layers/bias-shift.js';
import { channelCount, channelDepth, toRows } from '../layers/channel-layout.js';
import { reportName, WeightStore } from '../layers/weight-store.js';
import {
  firstSamples,
  type MethodContext,
  type MethodOutcome,
  type NodeChange,
  partOf,
  type RunSource,
  type TrainingSummary,
} from '../method.js';
import { codeLimits, roundLayer, roundOnSamples, type SequentialResult, StoredWeights } from '../quantization/weight-storage/index.js';
import { trainModel } from '../training/index.js';
import { integerLayers, roundBias } from './integer-layers.js';
import { learnSteps } from './learned-steps.js';
import type { QatOptions } from './options.js';
import { activationParameters, type RoundedActivations, roundActivations } from './rounded-activations.js';
import { type RoundedWeight, roundedCodes, roundingEstimator, trainRounded } from './rounded-weights.js';
import { type TrainedWeight, trainedLayers } from './trained-layers.js';

const METHOD = 'qat';
/** Samples that the codes to start from, and the ranges of activations, are taken from. */
const START_SAMPLES = 1000;

/** Throws EngineError `recipe_invalid` without samples, and what training throws. Edits the model in place. */
export async function qat(model: Model, options: QatOptions, context: MethodContext): Promise<MethodOutcome> {
  const { weight_bits = 4, activation_bits = 8, activation_steps = 'lsq', protect_ends = true, rounding = 'gptq', exclude = [] } = options;
  if (!context.calibration) throw new EngineError('recipe_invalid', 'Quantization-aware training needs samples: give a data set.');
  const samples = firstSamples(context.calibration, START_SAMPLES);
  const store = new WeightStore(model);
  const { weights: planned, left } = trainedLayers(model, store, { bits: weight_bits, protectEnds: protect_ends, exclude });
  if (planned.length === 0)
    throw new EngineError('recipe_invalid', 'The model has no convolution or matrix product whose weights could be trained in few bits.');
  const layers = new Set(planned.flatMap(({ nodes }) => nodes));
  const integers = activation_bits === 8 ? integerLayers(model, layers) : new Set<Node>();
  const pairSafe = (weight: TrainedWeight): boolean => context.target === 'x64' && weight.nodes.some((node) => integers.has(node));
  const started = await startingCodes(model, planned, { algorithm: rounding, samples, pairSafe, context: partOf(context, 0, 0.1) });
  for (const { weight, result } of started) {
    const [node] = weight.nodes;
    if (node && result.biasShift) shiftBias(store, node, result.biasShift);
  }
  const inOrder = model.graph.nodes.filter((node) => layers.has(node));
  const activations =
    activation_bits === 8
      ? await activationParameters(model, { layers: inOrder, samples, context: partOf(context, 0.1, 0.15) })
      : new Map();
  const weights = started.map(({ weight, result }) => roundedWeight(weight, result, pairSafe(weight)));
  const trained = await train(model, { layers, activations, weights, steps: activation_steps, options }, partOf(context, 0.15, 1));
  adoptOthers(model, trained);
  writeCodes(model, store, { started, weights, trained, integers });
  roundActivations(model, inOrder, trained.activations);
  return {
    nodes: [
      ...planned.flatMap(({ nodes, bits }) =>
        nodes.map((node) =>
          change(
            node,
            'changed',
            `${bits} bit weights, trained as they are rounded${integers.has(node) ? ', for the integer kernel' : ''}`,
          ),
        ),
      ),
      ...left.map(({ node, reason }) => change(node, 'left', reason)),
    ],
    ...(trained.training ? { training: trained.training } : {}),
  };
}

interface TrainingTask {
  readonly layers: ReadonlySet<Node>;
  readonly activations: RoundedActivations;
  readonly weights: readonly RoundedWeight[];
  readonly steps: NonNullable<QatOptions['activation_steps']>;
  readonly options: QatOptions;
}

interface Trained {
  /** Constants of the model that was trained, by name. */
  readonly constants: ReadonlyMap<string, Tensor>;
  /** Names of those that stand behind codes. */
  readonly rounded: ReadonlySet<string>;
  readonly logScales: ReadonlyMap<string, string>;
  readonly activations: RoundedActivations;
  readonly training?: TrainingSummary;
}

/** Trains a copy in which weights and activations are rounded. */
async function train(model: Model, task: TrainingTask, context: MethodContext): Promise<Trained> {
  const { layers, activations, weights, steps, options } = task;
  const copy = cloneModel(model);
  roundActivations(
    copy,
    copy.graph.nodes.filter((_, at) => layers.has(model.graph.nodes[at] as Node)),
    activations,
  );
  const learned = steps === 'fixed' ? undefined : learnSteps(copy, activations, steps);
  const { trained, fixed, logScales } = trainRounded(copy, weights);
  const { weight_bits: _w, activation_bits: _a, activation_steps: _s, protect_ends: _p, rounding: _r, exclude: _e, ...training } = options;
  const frozen = [...(training.frozen ?? []), ...fixed, ...(learned?.fixed ?? [])];
  const learning = {
    ...{ by: METHOD, options: { ...training, frozen }, defaults: { epochs: 1, learningRate: 2e-4 } },
    alsoTrained: new Set([...trained, ...(learned?.trained ?? [])]),
    estimator: (node: Node) => roundingEstimator(node) ?? learned?.estimator(node),
    ...(context.source ? { teacher: context.source } : {}),
  };
  const outcome = training.epochs === 0 ? undefined : await trainModel(copy, learning, context);
  const constants = new Map([...copy.graph.initializers].map(([value, tensor]) => [value.name, tensor] as const));
  const parameters = learned?.parameters((name) => valuesOf(constants, name)) ?? activations;
  return { constants, rounded: trained, logScales, activations: parameters, ...(outcome?.training ? { training: outcome.training } : {}) };
}

const valuesOf = (constants: ReadonlyMap<string, Tensor>, name: string): Float32Array =>
  float32Values(constants.get(name) ?? float32Tensor([0], []));

function change(node: Node, action: NodeChange['action'], reason: string): NodeChange {
  return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
}

interface Started {
  readonly weight: TrainedWeight;
  readonly result: SequentialResult;
}

interface StartRequest {
  readonly algorithm: NonNullable<QatOptions['rounding']>;
  readonly samples: RunSource;
  readonly pairSafe: (weight: TrainedWeight) => boolean;
  readonly context: MethodContext;
}

/** Layers of 8 bits to the nearest code, the others on their inputs, one after the other. */
async function startingCodes(
  model: Model,
  planned: readonly TrainedWeight[],
  { algorithm, samples, pairSafe, context }: StartRequest,
): Promise<Started[]> {
  const onInputs = planned.filter(({ bits }) => bits < 8);
  const layers = onInputs.flatMap(({ nodes: [node], constant, layout, bits }) => (node ? [{ node, weight: constant, layout, bits }] : []));
  const results =
    layers.length === 0 ? new Map<Node, SequentialResult>() : await roundOnSamples({ model, layers, algorithm, samples, context });
  return planned.flatMap((weight): Started[] => {
    const [node] = weight.nodes;
    const result = (node && results.get(node)) ?? nearestCodes(weight, pairSafe(weight));
    return [{ weight, result }];
  });
}

/** Bits at which no pair of products leaves int16 on a processor without VNNI: 2 * 64 * 255 < 2^15 (saturation.ts). */
const PAIR_SAFE_BITS = 7;
const codeBits = (bits: number, isPairSafe: boolean): number => (isPairSafe ? Math.min(bits, PAIR_SAFE_BITS) : bits);

function nearestCodes({ constant, layout, bits }: TrainedWeight, isPairSafe: boolean): SequentialResult {
  const rows = toRows(float32Values(constant.tensor), layout);
  return roundLayer({ rows, channels: channelCount(layout), depth: channelDepth(layout), bits: codeBits(bits, isPairSafe) }, 'rtn');
}

function roundedWeight({ constant, layout, bits }: TrainedWeight, { codes, scales }: SequentialResult, isPairSafe: boolean): RoundedWeight {
  const { low, high } = codeLimits(codeBits(bits, isPairSafe));
  return { name: constant.value.name, dims: constant.tensor.dims, layout, low, high, codes, scales };
}

/** Biases and whatever else was trained in float. */
function adoptOthers(model: Model, { constants, rounded }: Trained): void {
  for (const [value, tensor] of model.graph.initializers) {
    const trained = rounded.has(value.name) ? undefined : constants.get(value.name);
    if (trained && tensor.dataType === 'float32') model.graph.initializers.set(value, trained);
  }
}

interface Written {
  readonly started: readonly Started[];
  readonly weights: readonly RoundedWeight[];
  readonly trained: Trained;
  readonly integers: ReadonlySet<Node>;
}

function writeCodes(model: Model, store: WeightStore, { started, weights, trained, integers }: Written): void {
  const { constants, logScales, activations } = trained;
  const writer = new StoredWeights(store, model.opset);
  for (const [at, { weight }] of started.entries()) {
    const rounded = weights[at];
    if (!rounded) continue;
    const growth = valuesOf(constants, logScales.get(rounded.name) ?? '');
    const { codes, scales } = roundedCodes(rounded, valuesOf(constants, rounded.name), growth);
    const asIntegers = weight.nodes.every((node) => integers.has(node));
    writer.write(weight.constant, { bits: weight.bits, codes, scales, layout: weight.layout, asIntegers });
    for (const node of asIntegers ? weight.nodes : []) {
      const input = activations.get(node.inputs[0]?.name ?? '');
      if (input) roundBias(store, node, { input: input.scale, weights: scales });
    }
  }
  writer.finish();
}
