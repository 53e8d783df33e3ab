/** Runs the observing graph and reads its outputs back into numbers per tensor. */
import { elementCount, float32Values, int64Tensor, integerValues, type Model, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { type DerivedTensor, deriveTensor } from './derived-tensors.js';
import { channelSummaryOf, type ObservedTensor, summaryOf } from './observed-run.js';
import { isPooled, type ObservingOutputs, observingModel, type Reduction, type TensorReading } from './observing-graph.js';

export type Feeds = ReadonlyMap<string, Tensor>;

/** Every wanted tensor is in one of the two lists, or in both when its extremes follow and its channels do not. */
export interface ReadingPlan {
  readonly readings: readonly TensorReading[];
  /** Sources before what follows from them; each with how it is read where it cannot be derived. */
  readonly derived: readonly { readonly from: DerivedTensor; readonly own: TensorReading }[];
  /** Dims that all runs will have; otherwise they are read in each run. */
  readonly dims: ReadonlyMap<string, readonly number[]> | undefined;
}

/** Sizes of tensors in one run, by name. */
export async function surveyDims(
  runtime: Runtime,
  { model, names, feeds }: { model: Model; names: readonly string[]; feeds: Feeds },
): Promise<ReadonlyMap<string, readonly number[]>> {
  const survey = observingModel(model, [], names);
  /** One run: optimizing the graph would take longer than it saves. */
  const session = await runtime.open(survey.model, { optimization: 'disabled' });
  try {
    const outputs = await session.run(feeds);
    return decodeDims(outputs.get(survey.outputs.dims ?? ''), names);
  } finally {
    await session.close();
  }
}

/** Observes tensors run by run. Must be closed. */
export class RunObserver {
  private constructor(
    private readonly runtime: Runtime,
    private readonly model: Model,
    private plan: ReadingPlan,
    private opened: { readonly session: ExecutionSession; readonly outputs: ObservingOutputs },
  ) {}

  static async open(runtime: Runtime, model: Model, plan: ReadingPlan): Promise<RunObserver> {
    return new RunObserver(runtime, model, plan, await openSession(runtime, model, plan));
  }

  /**
   * `phase` says where strided values start. When a value that is not finite shows, the run is repeated with the mean of every
   * tensor, which finds those that hold one; they are read whole from then on.
   */
  async run(feeds: Feeds, phase = 0): Promise<Map<string, ObservedTensor>> {
    const observed = await this.runOnce(feeds, phase);
    const wild = this.plan.readings.filter((reading) => !reading.isWhole && !isTame(observed.get(reading.name)));
    if (wild.length === 0) return observed;
    await this.replan(this.plan.readings.every((reading) => reading.isWhole || reading.hasMean) ? wholeFor(wild) : careful);
    return this.run(feeds, phase);
  }

  /** Reads less from now on; what was found not finite is still read whole. */
  async narrow(plan: ReadingPlan): Promise<void> {
    const whole = new Set(this.plan.readings.filter(({ isWhole }) => isWhole).map(({ name }) => name));
    await this.replan(() => ({
      ...plan,
      readings: plan.readings.map((reading) => (whole.has(reading.name) ? { ...reading, isWhole: true } : reading)),
    }));
  }

  async close(): Promise<void> {
    await this.opened.session.close();
  }

  private async replan(change: (plan: ReadingPlan) => ReadingPlan): Promise<void> {
    const plan = change(this.plan);
    const opened = await openSession(this.runtime, this.model, plan);
    await this.opened.session.close();
    this.plan = plan;
    this.opened = opened;
  }

  private async runOnce(feeds: Feeds, phase: number): Promise<Map<string, ObservedTensor>> {
    const { session, outputs } = this.opened;
    const phases = [...outputs.phases].map(([stride, name]) => [name, int64Tensor([1], [phase % stride])] as const);
    const results = await session.run(new Map([...feeds, ...phases]));
    const dims = this.plan.dims ?? decodeDims(results.get(outputs.dims ?? ''), sizedNames(this.plan));
    const reductions = decodeReductions(outputs, results, dims);
    if (!reductions) {
      /** Sizes that depend on values, and not on the dims of the inputs. */
      await this.replan((plan) => ({ ...plan, dims: undefined }));
      return this.runOnce(feeds, phase);
    }
    const observed = new Map<string, ObservedTensor>();
    for (const reading of this.plan.readings) {
      const output = outputs.values.get(reading.name);
      const values = output === undefined ? undefined : floats(results.get(output));
      observed.set(
        reading.name,
        observedTensor(reading, { dims: dims.get(reading.name) ?? [], values, parts: reductions.get(reading.name) }),
      );
    }
    for (const { from, own } of this.plan.derived) {
      const sources = from.sources.flatMap((name) => observed.get(name) ?? []);
      const derived = deriveTensor(from, sources);
      if (derived) observed.set(own.name, { ...observed.get(own.name), ...derived, dims: dims.get(own.name) ?? [] });
    }
    return observed;
  }
}

async function openSession(
  runtime: Runtime,
  model: Model,
  plan: ReadingPlan,
): Promise<{ session: ExecutionSession; outputs: ObservingOutputs }> {
  const observing = observingModel(model, plan.readings, plan.dims ? [] : sizedNames(plan));
  return { session: await runtime.open(observing.model), outputs: observing.outputs };
}

function sizedNames({ readings, derived }: ReadingPlan): string[] {
  return [...new Set([...readings, ...derived.map(({ own }) => own)].map(({ name }) => name))];
}

/** Means of all tensors, and nothing derived from what may not be finite. */
function careful({ readings, derived, dims }: ReadingPlan): ReadingPlan {
  const all = new Map([...readings, ...derived.map(({ own }) => own)].map((reading) => [reading.name, reading] as const));
  return { readings: [...all.values()].map((reading) => ({ ...reading, hasMean: true })), derived: [], dims };
}

function wholeFor(wild: readonly TensorReading[]): (plan: ReadingPlan) => ReadingPlan {
  const names = new Set(wild.map(({ name }) => name));
  return ({ readings, ...rest }) => ({
    ...rest,
    readings: readings.map((reading) => (names.has(reading.name) ? { ...reading, isWhole: true } : reading)),
  });
}

function isTame(observed: ObservedTensor | undefined): boolean {
  return observed !== undefined && [observed.min, observed.max, observed.mean ?? 0, observed.power ?? 0].every(Number.isFinite);
}

function floats(tensor: Tensor | undefined): Float32Array {
  return tensor ? float32Values(tensor) : new Float32Array();
}

/** Dims of each name from one vector in which -1 ends a tensor. */
function decodeDims(vector: Tensor | undefined, names: readonly string[]): Map<string, readonly number[]> {
  const sizes = vector ? integerValues(vector) : [];
  const dims = new Map<string, readonly number[]>();
  let start = 0;
  for (const name of names) {
    const end = sizes.indexOf(-1, start);
    dims.set(name, sizes.slice(start, end));
    start = end + 1;
  }
  return dims;
}

type Parts = Partial<Record<Reduction, Float32Array>>;

/** Undefined when the outputs do not fit the dims. */
function decodeReductions(
  { reductions }: ObservingOutputs,
  results: ReadonlyMap<string, Tensor>,
  dims: ReadonlyMap<string, readonly number[]>,
): Map<string, Parts> | undefined {
  const parts = new Map<string, Parts>();
  for (const { reduction, output, readings } of reductions) {
    const joined = floats(results.get(output));
    let start = 0;
    for (const { name, keptAxis } of readings) {
      const width = keptAxis === undefined ? 1 : (dims.get(name)?.[keptAxis] ?? 1);
      const known = parts.get(name) ?? {};
      known[reduction] = joined.subarray(start, start + width);
      parts.set(name, known);
      start += width;
    }
    if (start !== joined.length) return undefined;
  }
  return parts;
}

interface Seen {
  readonly dims: readonly number[];
  readonly values: Float32Array | undefined;
  readonly parts: Parts | undefined;
}

function observedTensor(reading: TensorReading, { dims, values, parts = {} }: Seen): ObservedTensor {
  const total = elementCount(dims);
  if (reading.isWhole && values) {
    const axis = reading.hasChannels ? reading.keptAxis : undefined;
    const summary = summaryOf(values);
    const channels = axis === undefined ? {} : { channels: channelSummaryOf(values, dims, axis) };
    return { ...summary, ...channels, dims, values, nonFinite: total - summary.count };
  }
  const { ReduceMax: max = noValues, ReduceMean: mean, ReduceSumSquare: squares } = parts;
  const min = parts.ReduceMin ?? new Float32Array(max.length);
  const perValue = isPooled('ReduceSumSquare', reading) ? 1 : (squares?.length ?? 0) / Math.max(1, total);
  const power = squares && Float64Array.from(squares, (sum) => sum * perValue);
  return {
    min: min.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY),
    max: max.reduce((largest, value) => Math.max(largest, value), Number.NEGATIVE_INFINITY),
    ...momentsOf(values, mean, power),
    ...{ dims, count: total, nonFinite: 0 },
    ...(values && { values }),
    ...(reading.hasChannels && mean && power ? { channels: { mean, power } } : {}),
  };
}

const noValues = new Float32Array();

/** From reductions of everything where there are some, otherwise from the values that were fetched. */
function momentsOf(
  values: Float32Array | undefined,
  mean: Float32Array | undefined,
  power: Float64Array | undefined,
): { readonly mean?: number; readonly power?: number } {
  const estimated = values ? summaryOf(values) : undefined;
  const ofMean = mean ? average(mean) : estimated?.mean;
  const ofPower = power ? average(power) : estimated?.power;
  return { ...(ofMean === undefined ? {} : { mean: ofMean }), ...(ofPower === undefined ? {} : { power: ofPower }) };
}

/** Channels have equal numbers of values. */
function average(values: Float32Array | Float64Array): number {
  let sum = 0;
  for (let at = 0; at < values.length; at += 1) sum += values[at] as number;
  return sum / Math.max(1, values.length);
}
