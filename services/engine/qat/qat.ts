/** Quantization-aware training: convolutions in few bits, trained as they will be rounded, after the model as it came in. */
import { EngineError } from '../engine-errors.js';
import { cloneModel, float32Tensor, float32Values, type Model, type Node } from '../ir/index.js';
import { shiftBias } from '../layers/bias-shift.js';
import { channelCount, channelDepth, toRows } from '../layers/channel-layout.js';
import { reportName, WeightStore } from '../layers/weight-store.js';
import { firstSamples, type MethodContext, type MethodOutcome, type NodeChange, partOf, type RunSource } from '../method.js';
import {
  codeLimits,
  type PlannedWeight,
  planStorage,
  roundLayer,
  roundSequentially,
  type SequentialResult,
  StoredWeights,
} from '../quantization/weight-storage/index.js';
import { trainModel } from '../training/index.js';
import type { QatOptions } from './options.js';
import { activationParameters, roundActivations } from './rounded-activations.js';
import { isRounding, type RoundedWeight, roundedCodes, trainRounded } from './rounded-weights.js';

const METHOD = 'qat';
/** Samples that the codes to start from, and the ranges of activations, are taken from. */
const START_SAMPLES = 1000;

/** Throws EngineError `recipe_invalid` without samples, and what training throws. Edits the model in place. */
export async function qat(model: Model, options: QatOptions, context: MethodContext): Promise<MethodOutcome> {
  const { weight_bits = 4, activation_bits = 8, protect_ends = true, rounding = 'gptq', exclude = [], ...training } = options;
  if (!context.calibration) throw new EngineError('recipe_invalid', 'Quantization-aware training needs samples: give a data set.');
  const samples = firstSamples(context.calibration, START_SAMPLES);
  const store = new WeightStore(model);
  const plan = planStorage(model, store, { convBits: weight_bits, recurrentBits: 32, protectEnds: protect_ends, exclude });
  const planned = plan.weights.filter(({ kind, nodes }) => kind === 'convolution' && nodes.every((node) => node.graph === model.graph));
  if (planned.length === 0)
    throw new EngineError('recipe_invalid', 'The model has no convolution whose weights could be trained in few bits.');
  const started = await startingCodes(model, planned, { algorithm: rounding, samples, context: partOf(context, 0, 0.1) });
  for (const { weight, result } of started) {
    const [node] = weight.nodes;
    if (node && result.biasShift) shiftBias(store, node, result.biasShift);
  }
  const layers = new Set(planned.flatMap(({ nodes }) => nodes));
  const inOrder = model.graph.nodes.filter((node) => layers.has(node));
  const activations =
    activation_bits === 8
      ? await activationParameters(model, { layers: inOrder, samples, context: partOf(context, 0.1, 0.15) })
      : new Map();
  const copy = cloneModel(model);
  roundActivations(
    copy,
    copy.graph.nodes.filter((_, at) => layers.has(model.graph.nodes[at] as Node)),
    activations,
  );
  const weights = started.map(({ weight, result }) => roundedWeight(weight, result));
  const { trained, fixed, logScales } = trainRounded(copy, weights);
  const frozen = [...(training.frozen ?? []), ...fixed];
  const task = {
    ...{
      by: METHOD,
      options: { ...training, frozen },
      defaults: { epochs: 1, learningRate: 2e-4 },
      alsoTrained: trained,
      passThrough: isRounding,
    },
    ...(context.source ? { teacher: context.source } : {}),
  };
  const outcome = await trainModel(copy, task, partOf(context, 0.15, 1));
  const found = new Map([...copy.graph.initializers].map(([value, tensor]) => [value.name, tensor] as const));
  const values = (name: string): Float32Array => float32Values(found.get(name) ?? float32Tensor([0], []));
  adoptOthers(model, found, trained);
  writeCodes(model, store, { started, weights, values, logScales });
  roundActivations(model, inOrder, activations);
  return {
    nodes: [
      ...planned.flatMap(({ nodes, bits }) =>
        nodes.map((node) => change(node, 'changed', `${bits} bit weights, trained as they are rounded`)),
      ),
      ...plan.left.map(({ node, reason }) => change(node, 'left', reason)),
    ],
    ...(outcome.training ? { training: outcome.training } : {}),
  };
}

function change(node: Node, action: NodeChange['action'], reason: string): NodeChange {
  return { node: reportName(node), op_type: node.opType, action, by: METHOD, reason };
}

interface Started {
  readonly weight: PlannedWeight;
  readonly result: SequentialResult;
}

/** Layers of 8 bits to the nearest code, the others on their inputs, one after the other. */
async function startingCodes(
  model: Model,
  planned: readonly PlannedWeight[],
  { algorithm, samples, context }: { algorithm: NonNullable<QatOptions['rounding']>; samples: RunSource; context: MethodContext },
): Promise<Started[]> {
  const onInputs = planned.filter(({ bits }) => bits < 8);
  const layers = onInputs.flatMap(({ nodes: [node], constant, layout, bits }) => (node ? [{ node, weight: constant, layout, bits }] : []));
  const results =
    layers.length === 0 ? new Map<Node, SequentialResult>() : await roundSequentially({ model, layers, algorithm, samples, context });
  return planned.flatMap((weight): Started[] => {
    const [node] = weight.nodes;
    const result = (node && results.get(node)) ?? nearestCodes(weight);
    return [{ weight, result }];
  });
}

function nearestCodes({ constant, layout, bits }: PlannedWeight): SequentialResult {
  const rows = toRows(float32Values(constant.tensor), layout);
  return roundLayer({ rows, channels: channelCount(layout), depth: channelDepth(layout), bits }, 'rtn');
}

function roundedWeight({ constant, layout, bits }: PlannedWeight, { codes, scales }: SequentialResult): RoundedWeight {
  const { low, high } = codeLimits(bits);
  return { name: constant.value.name, dims: constant.tensor.dims, layout, low, high, codes, scales };
}

/** Biases and whatever else was trained in float. */
function adoptOthers(model: Model, found: ReadonlyMap<string, ReturnType<typeof float32Tensor>>, rounded: ReadonlySet<string>): void {
  for (const [value, tensor] of model.graph.initializers) {
    const trained = rounded.has(value.name) ? undefined : found.get(value.name);
    if (trained && tensor.dataType === 'float32') model.graph.initializers.set(value, trained);
  }
}

interface Written {
  readonly started: readonly Started[];
  readonly weights: readonly RoundedWeight[];
  readonly values: (name: string) => Float32Array;
  readonly logScales: ReadonlyMap<string, string>;
}

function writeCodes(model: Model, store: WeightStore, { started, weights, values, logScales }: Written): void {
  const writer = new StoredWeights(store, model.opset);
  for (const [at, { weight }] of started.entries()) {
    const rounded = weights[at];
    if (!rounded) continue;
    const logScale = logScales.get(rounded.name);
    const { codes, scales } = roundedCodes(rounded, values(rounded.name), logScale === undefined ? new Float32Array() : values(logScale));
    writer.write(weight.constant, { bits: weight.bits, codes, scales, layout: weight.layout });
  }
  writer.finish();
}
