/** One graph that computes the loss of a batch and its gradient by every trained parameter. */

import { blockConvolutions, type Estimator, orderForRelease, removeUnread, vjp } from '../autodiff/index.js';
import { EngineError } from '../engine-errors.js';
import { type DataType, elementCount, GraphWriter, type Model, type Tensor, tensorOf, Value } from '../ir/index.js';
import { channelBlock } from '../runtime/channel-block.js';
import type { Runtime } from '../runtime/execution-session.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { type OptimizerStep, type UpdateOptions, writeOptimizerStep } from './optimizer.js';
import { type Parameter, parameterTensor, type RunningStatistics, type TrainableModel } from './trainable-model.js';

export interface SizedValue {
  readonly value: Value;
  readonly dims: readonly number[];
}

/** What an objective writes with. */
export interface ObjectiveScope {
  readonly write: GraphWriter;
  /** Output `index` of the model. */
  output(index: number): SizedValue;
  readonly outputCount: number;
  /** A value of the main graph by name; undefined when the graph makes none of that name. */
  value(name: string): SizedValue | undefined;
  /** A parameter of the model. */
  parameterValue(name: string): Value;
  /** A new input that every step feeds: targets, outputs of a teacher. */
  input(name: string, dims: readonly number[]): Value;
  /** A new parameter that exists only while training: a regressor between widths. */
  parameter(parameter: Parameter): Value;
}

/** Writes the loss of one batch: a scalar whose gradient the parameters follow. */
export type Objective = (scope: ObjectiveScope) => Value;

export interface TrainingGraph {
  readonly model: Model;
  readonly loss: string;
  /** Name of the value that holds dL/dp, by parameter; an output unless there is an optimizer. Parameters that the loss does not depend on are missing. */
  readonly gradients: ReadonlyMap<string, string>;
  readonly optimizer?: OptimizerStep;
  readonly parameters: readonly Parameter[];
  readonly statistics: readonly RunningStatistics[];
  /** Inputs that the objective added. */
  readonly inputs: ReadonlyMap<string, readonly number[]>;
  /** The first output of the model: what a metric is computed from. */
  readonly output: string;
  /** Bytes of what the forward pass of one batch computes. */
  readonly valueBytes: number;
}

export interface TrainingGraphRequest {
  /** Extended in place. */
  readonly trainable: TrainableModel;
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly objective: Objective;
  /** Tells the parameters that are trained. Default: all. */
  readonly isTrained?: (parameter: Parameter) => boolean;
  readonly estimator?: Estimator;
  /** Makes the graph move the parameters; without it the gradients are its outputs. */
  readonly updates?: UpdateOptions;
  readonly runtime: Runtime;
}

export async function trainingGraph(request: TrainingGraphRequest): Promise<TrainingGraph> {
  const { trainable, isTrained = () => true } = request;
  const { model, names } = trainable;
  const scope = new Scope(trainable, new GraphWriter(model, names, model.graph, 'loss'));
  const loss = request.objective(scope);
  const feeds = new Map(request.feeds);
  const parameters = [...trainable.parameters, ...scope.added];
  for (const each of [...parameters, ...trainable.statistics.flatMap(({ mean, variance }) => [mean, variance])])
    feeds.set(each.name, parameterTensor(each));
  for (const [name, dims] of scope.inputs) feeds.set(name, tensorOf('float32', dims, new Float32Array(elementCount(dims))));
  const { shapes } = await observeShapes(request.runtime, { model, feeds });
  const estimator = request.estimator ? { estimator: request.estimator } : {};
  const trained = parameters.filter(isTrained);
  const byName = new Map(model.graph.inputs.map((value) => [value.name, value] as const));
  const wrt = trained.flatMap(({ name }) => byName.get(name) ?? []);
  const gradients = vjp({ model, names, shapes, cotangents: new Map([[loss, scope.write.float(1)]]), wrt, ...estimator });
  if (gradients.size === 0) throw new EngineError('model_unsupported', 'No parameter of the model changes the loss.');
  const output = model.graph.outputs[0]?.name ?? '';
  const optimizer = request.updates && writeUpdates(scope, gradients, { trained, options: request.updates });
  publish(trainable, loss, optimizer?.outputs ?? [...gradients.values()]);
  removeUnread(model.graph);
  const block = await channelBlock(request.runtime);
  if (block > 0) blockConvolutions(model, names, block);
  orderForRelease(model.graph);
  return {
    ...{ model, parameters, statistics: trainable.statistics, output },
    loss: loss.name,
    gradients: new Map([...gradients].map(([parameter, gradient]) => [parameter.name, gradient.name])),
    inputs: scope.inputs,
    valueBytes: [...shapes.values()].reduce((sum, dims) => sum + Float32Array.BYTES_PER_ELEMENT * elementCount(dims), 0),
    ...(optimizer ? { optimizer: optimizer.step } : {}),
  };
}

function writeUpdates(
  scope: Scope,
  gradients: ReadonlyMap<Value, Value>,
  { trained, options }: { trained: readonly Parameter[]; options: UpdateOptions },
): { readonly step: OptimizerStep; readonly outputs: readonly Value[] } {
  const outputs: Value[] = [];
  const byName = new Map(trained.map((parameter) => [parameter.name, parameter] as const));
  const step = writeOptimizerStep(scope.write, {
    trained: [...gradients].flatMap(([value, gradient]) => {
      const parameter = byName.get(value.name);
      return parameter ? [{ parameter, value, gradient }] : [];
    }),
    options,
    border: { input: (name, dims) => scope.feed(name, dims), output: (value) => outputs.push(value) },
  });
  return { step, outputs };
}

/** Outputs of the training graph: loss, `results`, statistics of the batch, and the first output of the model. Inputs that nobody reads go. */
function publish({ model, statistics }: TrainableModel, loss: Value, results: readonly Value[]): void {
  const { graph } = model;
  const kept = new Set(statistics.flatMap(({ batchMean, batchVariance }) => [batchMean, batchVariance]));
  const [first] = graph.outputs;
  const others = graph.outputs.slice(1).filter(({ name }) => kept.has(name));
  const typed = (value: Value, dataType: DataType = 'float32'): Value => {
    value.type = { kind: 'tensor', dataType, shape: null };
    return value;
  };
  const made = [...new Set([typed(loss), ...results.map((value) => typed(value))])];
  graph.inputs.splice(0, Number.POSITIVE_INFINITY, ...graph.inputs.filter((input) => input.isRead));
  graph.outputs.splice(0, Number.POSITIVE_INFINITY, ...(first ? [first] : []), ...others, ...made);
}

class Scope implements ObjectiveScope {
  readonly inputs = new Map<string, readonly number[]>();
  readonly added: Parameter[] = [];
  readonly outputCount: number;
  private readonly values: ReadonlyMap<string, Value>;
  private readonly outputs: readonly Value[];

  constructor(
    private readonly trainable: TrainableModel,
    readonly write: GraphWriter,
  ) {
    const { graph } = trainable.model;
    const statistics = new Set(trainable.statistics.flatMap(({ batchMean, batchVariance }) => [batchMean, batchVariance]));
    this.outputs = graph.outputs.filter(({ name }) => !statistics.has(name));
    this.outputCount = this.outputs.length;
    this.values = new Map(graph.nodes.flatMap((node) => node.outputs).flatMap((value) => (value ? [[value.name, value] as const] : [])));
  }

  output(index: number): SizedValue {
    const value = this.outputs[index];
    if (!value) throw new RangeError(`the model has no output ${index}`);
    return { value, dims: this.dims(value) };
  }

  value(name: string): SizedValue | undefined {
    const value = this.values.get(name);
    return value && { value, dims: this.dims(value) };
  }

  parameterValue(name: string): Value {
    const value = this.trainable.model.graph.inputs.find((input) => input.name === name);
    if (!value) throw new RangeError(`the model has no parameter "${name}"`);
    return value;
  }

  input(name: string, dims: readonly number[]): Value {
    const value = this.feed(name, dims);
    this.inputs.set(value.name, dims);
    return value;
  }

  parameter(parameter: Parameter): Value {
    const value = this.feed(parameter.name, parameter.dims);
    this.added.push({ ...parameter, name: value.name });
    return value;
  }

  /** A new input of the graph. */
  feed(name: string, dims: readonly number[]): Value {
    const value = new Value(this.trainable.names.valueName(name), { kind: 'tensor', dataType: 'float32', shape: dims });
    this.trainable.model.graph.inputs.push(value);
    return value;
  }

  private dims(value: Value): readonly number[] {
    const dims = this.trainable.shapes.get(value.name);
    if (!dims) throw new EngineError('model_unsupported', `The sizes of "${value.name}" are not known, so no loss can be written on it.`);
    return dims;
  }
}
