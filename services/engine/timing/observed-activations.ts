/** What the activations of layers look like in a run: their dims, and per channel how far their values reach. */
import {
  type DataType,
  dataTypes,
  elementCount,
  float32Values,
  type Model,
  type Shape,
  type Tensor,
  tensorOf,
  type Value,
} from '../ir/index.js';
import type { MethodContext } from '../method.js';

/** Per element of the last axis. */
export interface ChannelStatistics {
  readonly low: Float32Array;
  readonly high: Float32Array;
  /** Mean of the squares. */
  readonly power: Float64Array;
}

export interface ObservedActivation {
  readonly dims: readonly number[];
  /** Absent when the values were made up and say nothing about real ones. */
  readonly statistics?: ChannelStatistics;
}

/** What a symbolic size other than the batch is taken to be when there are no samples: a short text, a second of a sensor. */
const TYPICAL_LENGTH = 64;
/** Samples from which statistics are taken; outlier channels of trained networks show in a few. */
const SAMPLES_MAX = 24;

interface Trial {
  readonly feeds: readonly ReadonlyMap<string, Tensor>[];
  /** True for given samples, and for random tokens: a token is as good as another, a made-up measurement is not. */
  readonly isTelling: boolean;
}

/**
 * The activations `values` (of the main graph) for batches of one sample, from the calibration samples or from generated
 * inputs. Values that could not be observed are missing; of a model that does not run, the declared dims are known.
 */
export async function observeActivations(
  model: Model,
  values: readonly Value[],
  context: MethodContext,
): Promise<Map<Value, ObservedActivation>> {
  const observed = new Map<Value, ObservedActivation>();
  const wanted = [...new Set(values)];
  for (const value of wanted) {
    const dims = fixedDims(value);
    if (dims) observed.set(value, { dims });
  }
  for await (const trial of trials(model, context)) {
    if (!trial.isTelling && observed.size === wanted.length) break;
    const seen = await runTrial(model, wanted, { trial, context });
    if (!seen) continue;
    for (const [value, activation] of seen) observed.set(value, activation);
    break;
  }
  return observed;
}

/** Inputs to time a model with, best first: a calibration sample, what the source ran on, generated ones, which the runtime may refuse. */
export async function* sampleFeeds(model: Model, { calibration, sample }: MethodContext): AsyncGenerator<ReadonlyMap<string, Tensor>> {
  if (calibration) for await (const run of calibration.runs(1, 1)) yield run.feeds;
  if (sample) yield sample;
  for (const { feeds } of generatedTrials(model)) yield* feeds.slice(0, 1);
}

function fixedDims(value: Value): readonly number[] | undefined {
  const shape = value.type?.kind === 'tensor' ? value.type.shape : null;
  return shape?.every((size) => typeof size === 'number') ? shape : undefined;
}

async function* trials(model: Model, context: MethodContext): AsyncGenerator<Trial> {
  if (context.calibration) {
    const feeds: ReadonlyMap<string, Tensor>[] = [];
    for await (const run of context.calibration.runs(1, SAMPLES_MAX)) feeds.push(run.feeds);
    yield { feeds, isTelling: true };
  }
  yield* generatedTrials(model);
}

function* generatedTrials(model: Model): Generator<Trial> {
  for (const length of [TYPICAL_LENGTH, 1]) {
    const trial = generatedTrial(model, length);
    if (trial) yield trial;
  }
}

function generatedTrial(model: Model, length: number): Trial | undefined {
  const inputs = model.graph.inputs.filter((input) => !model.graph.initializers.has(input));
  const tokens = new Map(inputs.map((input) => [input, vocabularySize(model, input)]));
  const isTelling = [...tokens.values()].some((size) => size !== undefined) && inputs.every((input) => isInteger(input));
  const feeds: Map<string, Tensor>[] = [];
  for (let sample = 0; sample < (isTelling ? SAMPLES_MAX : 1); sample += 1) {
    const feed = new Map<string, Tensor>();
    for (const input of inputs) {
      if (input.type?.kind !== 'tensor' || !input.type.dataType || !input.type.shape) return undefined;
      const tensor = generatedTensor(input.type.dataType, generatedDims(input.type.shape, length), {
        vocabulary: tokens.get(input),
        seed: sample,
      });
      if (!tensor) return undefined;
      feed.set(input.name, tensor);
    }
    feeds.push(feed);
  }
  return { feeds, isTelling };
}

function isInteger({ type }: Value): boolean {
  return type?.kind === 'tensor' && (type.dataType === 'int64' || type.dataType === 'int32');
}

/** Rows of the table in which the input is looked up directly. */
function vocabularySize(model: Model, input: Value): number | undefined {
  const lookup = input.uses.find(({ node, index }) => node.opType === 'Gather' && index === 1);
  const table = lookup?.node.inputs[0];
  return table ? model.graph.initializers.get(table)?.dims[0] : undefined;
}

function generatedDims(shape: Shape, length: number): number[] {
  return shape.map((size, axis) => {
    if (typeof size === 'number') return size;
    return axis === 0 || (typeof size === 'string' && /batch|^n$/i.test(size)) ? 1 : length;
  });
}

/** Random tokens of the vocabulary; all ones for anything else: an attention mask that hides nothing. */
function generatedTensor(
  dataType: DataType,
  dims: readonly number[],
  how: { vocabulary: number | undefined; seed: number },
): Tensor | undefined {
  const count = elementCount(dims);
  const token = (at: number): number =>
    (how.vocabulary ? Math.imul(how.seed * 8191 + at + 1, 2_654_435_761) >>> 0 : 1) % (how.vocabulary ?? 2);
  switch (dataType) {
    case 'float32':
      return tensorOf(dataType, dims, new Float32Array(count).fill(1));
    case 'float64':
      return tensorOf(dataType, dims, new Float64Array(count).fill(1));
    case 'int64':
      return tensorOf(
        dataType,
        dims,
        BigInt64Array.from({ length: count }, (_, at) => BigInt(token(at))),
      );
    case 'int32':
      return tensorOf(
        dataType,
        dims,
        Int32Array.from({ length: count }, (_, at) => token(at)),
      );
    default:
      return dataTypes[dataType].bits === 8 ? tensorOf(dataType, dims, new Uint8Array(count).fill(1)) : undefined;
  }
}

/** Runs the model with the wanted values as further outputs; undefined when the runtime refuses these inputs. */
async function runTrial(
  model: Model,
  wanted: readonly Value[],
  { trial, context }: { trial: Trial; context: MethodContext },
): Promise<Map<Value, ObservedActivation> | undefined> {
  const { graph } = model;
  const inner = wanted.filter((value) => value.producer?.graph === graph);
  const added = inner.filter((value) => !graph.isOutput(value));
  const types = added.map((value) => value.type);
  for (const value of added) value.type ??= { kind: 'tensor', dataType: 'float32', shape: null };
  graph.outputs.push(...added);
  try {
    return await observeRuns(model, { wanted, inner, trial, context });
  } catch {
    // The model may refuse generated inputs (a table of one row, a fixed length); the next trial or the fallback follows.
    context.signal.throwIfAborted();
    return undefined;
  } finally {
    graph.outputs.splice(graph.outputs.length - added.length, added.length);
    for (const [at, value] of added.entries()) value.type = types[at] ?? null;
  }
}

interface Observation {
  readonly wanted: readonly Value[];
  /** Those of the wanted values that a node computes. */
  readonly inner: readonly Value[];
  readonly trial: Trial;
  readonly context: MethodContext;
}

async function observeRuns(model: Model, { wanted, inner, trial, context }: Observation): Promise<Map<Value, ObservedActivation>> {
  const observed = new Map<Value, ObservedActivation>();
  const names = inner.map((value) => value.name);
  const session = await context.runtime.open(model, { optimization: 'basic' });
  try {
    for (const feeds of trial.feeds) {
      context.signal.throwIfAborted();
      const results = names.length > 0 ? await session.run(feeds, names) : new Map<string, Tensor>();
      for (const value of wanted) {
        const tensor = results.get(value.name) ?? (model.graph.isInput(value) ? feeds.get(value.name) : undefined);
        if (tensor) observed.set(value, merged(observed.get(value), tensor, trial));
      }
    }
    return observed;
  } finally {
    await session.close();
  }
}

function merged(before: ObservedActivation | undefined, tensor: Tensor, trial: Trial): ObservedActivation {
  const channels = tensor.dims.at(-1) ?? 0;
  if (!trial.isTelling || tensor.dataType !== 'float32' || channels === 0) return { dims: tensor.dims };
  const known = before?.statistics;
  const low = known?.low ?? new Float32Array(channels);
  const high = known?.high ?? new Float32Array(channels);
  const power = known?.power ?? new Float64Array(channels);
  const values = float32Values(tensor);
  const weight = channels / (values.length * trial.feeds.length);
  for (let at = 0; at < values.length; at += 1) {
    const channel = at % channels;
    const value = values[at] ?? 0;
    if (value < (low[channel] ?? 0)) low[channel] = value;
    if (value > (high[channel] ?? 0)) high[channel] = value;
    power[channel] = (power[channel] ?? 0) + weight * value * value;
  }
  return { dims: tensor.dims, statistics: { low, high, power } };
}
