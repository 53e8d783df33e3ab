/** Runs the observing graph and reads its outputs back into numbers per tensor. */
import { elementCount, float32Values, int64Tensor, integerValues, type Model, type Tensor } from '../ir/index.js';
import type { ExecutionSession, Runtime } from '../runtime/execution-session.js';
import { type ChannelSummary, channelSummaryOf, isAllFinite, mergedChannels, type ObservedTensor, summaryOf } from './observed-run.js';
import { type ObservingOutputs, observingModel, surveyModel, type TensorReading } from './observing-graph.js';

export type Feeds = ReadonlyMap<string, Tensor>;

/** Threads may spin: nothing but calibration runs now, and its runs follow each other closely. */
const SESSION = { config: { 'session.intra_op.allow_spinning': '1' } };

/** Sizes of tensors in one run, by name. */
export async function surveyDims(
  runtime: Runtime,
  { model, names, feeds }: { model: Model; names: readonly string[]; feeds: Feeds },
): Promise<ReadonlyMap<string, readonly number[]>> {
  if (names.length === 0) return new Map();
  const survey = surveyModel(model, names);
  /** One run: optimizing the graph would take longer than it saves. */
  const session = await runtime.open(survey.model, { optimization: 'disabled' });
  try {
    const outputs = await session.run(feeds);
    return new Map(decodeDims(outputs.get(survey.output), names));
  } finally {
    await session.close();
  }
}

/** Observes tensors run by run. Must be closed. */
export class RunObserver {
  private constructor(
    private readonly runtime: Runtime,
    private readonly model: Model,
    private readings: readonly TensorReading[],
    private opened: { readonly session: ExecutionSession; readonly outputs: ObservingOutputs },
  ) {}

  static async open(runtime: Runtime, model: Model, readings: readonly TensorReading[]): Promise<RunObserver> {
    return new RunObserver(runtime, model, readings, await openSession(runtime, model, readings));
  }

  /** `phase` says where strided values start. A tensor that turns out to hold values that are not finite is read whole from now on. */
  async run(feeds: Feeds, phase = 0): Promise<Map<string, ObservedTensor>> {
    const observed = await this.runOnce(feeds, phase);
    const wild = this.readings.filter((reading) => !reading.isWhole && !isAllFinite(observed.get(reading.name) ?? nothing));
    if (wild.length === 0) return observed;
    const names = new Set(wild.map(({ name }) => name));
    this.readings = this.readings.map((reading) => (names.has(reading.name) ? { ...reading, isWhole: true } : reading));
    await this.opened.session.close();
    this.opened = await openSession(this.runtime, this.model, this.readings);
    return this.runOnce(feeds, phase);
  }

  async close(): Promise<void> {
    await this.opened.session.close();
  }

  private async runOnce(feeds: Feeds, phase: number): Promise<Map<string, ObservedTensor>> {
    const { session, outputs } = this.opened;
    const phases = [...outputs.phases].map(([stride, name]) => [name, int64Tensor([1], [phase % stride])] as const);
    const results = await session.run(new Map([...feeds, ...phases]));
    const dims = new Map(
      decodeDims(
        results.get(outputs.dims),
        this.readings.map(({ name }) => name),
      ),
    );
    const [min, max, mean, squares] = outputs.reductions.map((name) => floats(results.get(name)));
    const reduced = { min, max, mean, squares, at: 0 };
    return new Map(
      this.readings.map((reading) => {
        const output = outputs.values.get(reading.name);
        const values = output === undefined ? undefined : floats(results.get(output));
        const size = dims.get(reading.name) ?? [];
        return [
          reading.name,
          reading.isWhole ? wholeTensor(reading, size, values) : { ...reducedTensor(reading, size, reduced), ...(values && { values }) },
        ];
      }),
    );
  }
}

async function openSession(
  runtime: Runtime,
  model: Model,
  readings: readonly TensorReading[],
): Promise<{ session: ExecutionSession; outputs: ObservingOutputs }> {
  const observing = observingModel(model, readings);
  return { session: await runtime.open(observing.model, SESSION), outputs: observing.outputs };
}

const nothing = { min: 0, max: 0, mean: 0, power: 0 };

function floats(tensor: Tensor | undefined): Float32Array {
  return tensor ? float32Values(tensor) : new Float32Array();
}

/** Dims of each name from one vector in which -1 ends a tensor. */
function* decodeDims(vector: Tensor | undefined, names: readonly string[]): Generator<readonly [string, readonly number[]]> {
  const sizes = vector ? integerValues(vector) : [];
  let start = 0;
  for (const name of names) {
    const end = sizes.indexOf(-1, start);
    yield [name, sizes.slice(start, end)];
    start = end + 1;
  }
}

function wholeTensor({ channelAxis }: TensorReading, dims: readonly number[], values: Float32Array = new Float32Array()): ObservedTensor {
  const summary = summaryOf(values);
  const channels = channelAxis === undefined ? {} : { channels: channelSummaryOf(values, dims, channelAxis) };
  return { ...summary, ...channels, dims, values, nonFinite: values.length - summary.count };
}

interface Reductions {
  readonly min?: Float32Array | undefined;
  readonly max?: Float32Array | undefined;
  readonly mean?: Float32Array | undefined;
  readonly squares?: Float32Array | undefined;
  /** Where the next tensor starts. */
  at: number;
}

function reducedTensor({ channelAxis, rank }: TensorReading, dims: readonly number[], reduced: Reductions): ObservedTensor {
  const count = elementCount(dims);
  const width = channelAxis === undefined ? 1 : (dims[channelAxis < 0 ? channelAxis + rank : channelAxis] ?? 1);
  const part = (vector: Float32Array = new Float32Array()): Float32Array => vector.subarray(reduced.at, reduced.at + width);
  const channels: ChannelSummary = {
    min: part(reduced.min),
    max: part(reduced.max),
    mean: part(reduced.mean),
    power: Float64Array.from(part(reduced.squares), (squares) => (squares * width) / Math.max(1, count)),
  };
  reduced.at += width;
  return { ...mergedChannels(channels), dims, count, nonFinite: 0, ...(channelAxis === undefined ? {} : { channels }) };
}
