/** A model made ready for differentiation: sizes fixed to one batch, parameters fed instead of stored. */
import { EngineError } from '../engine-errors.js';
import { adoptModel } from '../ir/adopt-model.js';
import {
  attributeOf,
  cloneModel,
  elementCount,
  float32Tensor,
  float32Values,
  type Model,
  NameAuthority,
  type Node,
  type Tensor,
  Value,
} from '../ir/index.js';
import type { MethodContext } from '../method.js';
import { constantNodeTensor } from '../passes/constant-nodes.js';
import { cleanUp } from '../passes/index.js';
import { upgradeOpset } from '../passes/opset-upgrade.js';
import { inlineTakenBranches } from '../runtime/inline-branches.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { type ParameterRole, parametersOf } from './parameter-roles.js';

/** One set of numbers that training moves. Its name is that of the constant in the model that the copy was made of. */
export interface Parameter {
  readonly name: string;
  readonly dims: readonly number[];
  readonly role: ParameterRole;
  readonly values: Float32Array;
}

/** Running mean and variance of a BatchNormalization, and the outputs of the training graph that hold those of the batch. */
export interface RunningStatistics {
  readonly mean: Parameter;
  readonly variance: Parameter;
  readonly batchMean: string;
  readonly batchVariance: string;
  /** Share of the old value that one step keeps (attribute `momentum` of the operator). */
  readonly momentum: number;
  /** Values per channel in one batch. */
  readonly count: number;
}

export interface TrainableModel {
  /** Parameters and running statistics are graph inputs of their names. */
  readonly model: Model;
  readonly names: NameAuthority;
  readonly parameters: readonly Parameter[];
  readonly statistics: readonly RunningStatistics[];
  /** Sizes of all values for one batch. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

/** Gradients are written with axes as inputs of the reductions. */
const OPSET = 18;

export interface TrainableRequest {
  /** Left as it is. */
  readonly model: Model;
  /** One batch as every run takes it. */
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly context: MethodContext;
  /** False keeps running statistics as they are: BatchNormalization is a fixed scale and shift then. */
  readonly batchStatistics: boolean;
  /** Names of constants that are parameters whatever reads them. */
  readonly alsoTrained?: ReadonlySet<string>;
}

/**
 * Branches are inlined as the batch takes them, the operator set is raised, everything constant is folded; parameters and
 * statistics are inputs before that, so that no pass folds them away. Throws EngineError `model_unsupported`.
 */
export async function trainableModel({ model, feeds, context, batchStatistics, alsoTrained }: TrainableRequest): Promise<TrainableModel> {
  const copy = cloneModel(model);
  adoptModel(copy, await inlineTakenBranches(context.runtime, copy, feeds));
  const { obstacle } = upgradeOpset(copy, OPSET);
  if (obstacle !== null) throw new EngineError('model_unsupported', `The model cannot be trained: ${obstacle}.`);
  const parameters = feedParameters(copy, alsoTrained);
  const normalizations = batchStatistics ? feedStatistics(copy) : [];
  for (const input of copy.graph.inputs) {
    const feed = feeds.get(input.name);
    if (feed) input.type = { kind: 'tensor', dataType: feed.dataType, shape: feed.dims };
  }
  await cleanUp(copy, { ...context, progress: () => undefined });
  const names = new NameAuthority(copy);
  const present = normalizations.filter(({ node }) => node.graph !== null);
  const observers = present.map((each) => ({ ...each, ...observeBatch(each.node, names) }));
  const all = new Map(feeds);
  for (const parameter of [...parameters, ...normalizations.flatMap(({ mean, variance }) => [mean, variance])])
    all.set(parameter.name, parameterTensor(parameter));
  const { shapes } = await observeShapes(context.runtime, { model: copy, feeds: all });
  const statistics = observers.map(({ node, mean, variance, batchMean, batchVariance }) => ({
    ...{ mean, variance, batchMean: batchMean.name, batchVariance: batchVariance.name },
    momentum: momentumOf(node),
    count: valuesPerChannel(shapes.get(node.inputs[0]?.name ?? '') ?? []),
  }));
  for (const { node, batchMean, batchVariance } of observers) {
    node.attributes.set('momentum', attributeOf.float(0));
    for (const value of [batchMean, batchVariance]) copy.graph.outputs.push(value);
  }
  return { model: copy, names, parameters, statistics, shapes };
}

/** The same memory: what moves the values moves the tensor. */
export function parameterTensor({ dims, values }: Parameter): Tensor {
  return float32Tensor(dims, values);
}

function feed(model: Model, value: Value, tensor: Tensor): void {
  model.graph.initializers.delete(value);
  value.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
  if (!model.graph.isInput(value)) model.graph.inputs.push(value);
}

/** Some exporters store weights in Constant nodes, branches only there: they are parameters like the others. */
function liftConstantNodes({ graph }: Model): void {
  const lifted = graph.nodes.filter((node) => {
    const [output] = node.outputs;
    const tensor = node.opType === 'Constant' && node.domain === '' ? constantNodeTensor(node) : undefined;
    if (!output || graph.isOutput(output) || tensor?.dataType !== 'float32') return false;
    output.producer = null;
    output.type = { kind: 'tensor', dataType: tensor.dataType, shape: tensor.dims };
    graph.initializers.set(output, tensor);
    return true;
  });
  graph.remove(lifted);
}

function feedParameters(model: Model, also: ReadonlySet<string> = new Set()): Parameter[] {
  liftConstantNodes(model);
  return parametersOf(model.graph, also)
    .filter(({ graph }) => graph === model.graph)
    .map(({ value, tensor, role }) => {
      feed(model, value, tensor);
      return { name: value.name, dims: tensor.dims, role, values: float32Values(tensor).slice() };
    });
}

interface Normalization {
  readonly node: Node;
  readonly mean: Parameter;
  readonly variance: Parameter;
}

/** Running statistics shared by two nodes would be averaged twice: each node gets its own. */
function feedStatistics(model: Model): Normalization[] {
  return model.graph.nodes
    .filter((node) => node.opType === 'BatchNormalization' && node.domain === '')
    .flatMap((node) => {
      const [mean, variance] = [3, 4].map((index): Parameter | undefined => {
        const value = node.inputs[index];
        const tensor = value && model.graph.initializers.get(value);
        if (!value || tensor?.dataType !== 'float32') return undefined;
        feed(model, value, tensor);
        return { name: value.name, dims: tensor.dims, role: 'bias', values: float32Values(tensor).slice() };
      });
      return mean && variance ? [{ node, mean, variance }] : [];
    });
}

/** `training_mode` normalizes by the batch and returns its mean and variance (ONNX BatchNormalization-15). */
function observeBatch(node: Node, names: NameAuthority): { batchMean: Value; batchVariance: Value } {
  const type = { kind: 'tensor', dataType: 'float32', shape: [null] } as const;
  const batchMean = new Value(names.valueName(`${node.name}/batch_mean`), type);
  const batchVariance = new Value(names.valueName(`${node.name}/batch_variance`), type);
  node.attributes.set('training_mode', attributeOf.int(1));
  node.setOutput(1, batchMean);
  node.setOutput(2, batchVariance);
  return { batchMean, batchVariance };
}

function momentumOf(node: Node): number {
  const attribute = node.attributes.get('momentum');
  return attribute?.kind === 'float' ? attribute.value : 0.9;
}

const valuesPerChannel = (dims: readonly number[]): number => elementCount(dims) / (dims[1] ?? 1);
