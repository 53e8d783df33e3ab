/** Runs samples through a float model and chooses a range for every wanted tensor: streaming, in bounded memory. */
import { EngineError } from '../engine-errors.js';
import type { Model, Value } from '../ir/index.js';
import type { CalibrationSummary, MethodContext, RunSource, ValueHistogram } from '../method.js';
import type { CalibrationOptions } from './options.js';
import { chooseRange, histogramMethods } from './range-choice.js';
import { planReadings, type ReadingRequest } from './reading-plan.js';
import { RunObserver, surveyDims } from './run-observer.js';
import { isBatchable, wantedBatch } from './sample-batch.js';
import { RangeStability } from './stability.js';
import { TensorRecord } from './tensor-record.js';

export interface CalibrationRequest {
  /** The float model; it is not changed. */
  readonly model: Model;
  /** Names of float32 tensors of the main graph: graph inputs and node outputs. */
  readonly tensors: readonly string[];
  readonly samples: RunSource;
  readonly options: CalibrationOptions;
  readonly context: MethodContext;
  /**
   * Tensors for which per-channel statistics are wanted, with the channel axis. Large maps show them in the first samples already, and
   * of the rest only what concerns the whole tensor.
   */
  readonly channels?: ReadonlyMap<string, number>;
  /** Whether `mean` and `power` of every tensor are wanted; those of channels always are. Default false: it costs time. */
  readonly moments?: boolean;
  /** Codes that the ranges are chosen for (mse, sqnr, entropy). Default 256. */
  readonly levels?: number;
}

/** Of finite values. Of a tensor that showed none, count is 0 and min > max. */
export interface TensorStatistics {
  readonly min: number;
  readonly max: number;
  /** The chosen range, within [min, max]; it holds 0 only if the values lie on both sides of it. */
  readonly low: number;
  readonly high: number;
  /**
   * E[x] and E[x^2], where `moments` or channels were asked for or the method looks at values; then of the values it looked at. A
   * last batch that was filled up counts its filling, too.
   */
  readonly mean?: number;
  readonly power?: number;
  /** Share of values outside [low, high]. */
  readonly clipped: number;
  readonly count: number;
  readonly nonFinite: number;
  /** Of the last run. */
  readonly dims: readonly number[];
  /** Of the values or, of large tensors, an evenly spread part of them; absent for 'minmax'. */
  readonly histogram?: ValueHistogram;
  readonly channels?: ChannelStatistics;
}

export interface ChannelStatistics {
  readonly mean: Float64Array;
  readonly power: Float64Array;
}

export interface CalibrationResult {
  readonly tensors: ReadonlyMap<string, TensorStatistics>;
  readonly summary: CalibrationSummary;
}

/** Samples that all statistics of channels are taken of. */
const CHANNEL_SAMPLES = 16;
/** Values per channel, from which more of them would not move a mean. */
const CHANNEL_VALUES = 2 ** 14;
/** Fewer samples to come are not worth a new session. */
const SAMPLES_WORTH_NARROWING = 16;

export const BINS_DEFAULT = 2048;
export const LEVELS_DEFAULT = 256;

/**
 * Ranges and statistics of `tensors` over the samples. Runs fewer samples than there are when the ranges no longer move
 * (stability.ts), unless `options.samples` says how many to run. Throws EngineError `runtime_failed` when the model does not run.
 */
export async function calibrate(request: CalibrationRequest): Promise<CalibrationResult> {
  const calibration = new Calibration(request);
  await calibration.run();
  return calibration.result();
}

interface RunShape {
  /** Sizes of the tensors for one sample. */
  readonly dims: ReadonlyMap<string, readonly number[]>;
  /** Samples of one run. */
  readonly batch: number;
}

class Calibration {
  private readonly started = performance.now();
  private readonly records = new Map<string, TensorRecord>();
  private readonly given: number;
  private samplesRun = 0;

  constructor(private readonly request: CalibrationRequest) {
    this.given = request.samples.sampleCount;
  }

  private get method(): NonNullable<CalibrationOptions['method']> {
    return this.request.options.method ?? 'minmax';
  }

  async run(): Promise<void> {
    const { request, records } = this;
    const hasHistograms = histogramMethods.has(this.method);
    const bins = hasHistograms ? (request.options.bins ?? BINS_DEFAULT) : undefined;
    for (const name of request.tensors) records.set(name, new TensorRecord(bins));
    if (records.size === 0) return;
    const dims = await this.survey();
    const { observer, batch } = await this.openObserver(dims);
    try {
      await this.runSamples(observer, { dims, batch });
    } finally {
      await observer.close();
    }
  }

  result(): CalibrationResult {
    const tensors = new Map([...this.records].map(([name, record]) => [name, this.statistics(record)] as const));
    const summary = {
      method: this.method,
      samples: this.samplesRun,
      samples_given: this.given,
      tensors: tensors.size,
      seconds: this.seconds(),
      from_cache: false,
    };
    return { tensors, summary };
  }

  private statistics(record: TensorRecord): TensorStatistics {
    const { min, max, mean, power, count, nonFinite, dims, channels } = record;
    const { low, high, clipped } = this.range(record);
    const histogram = record.histogram();
    return {
      ...{ min, max, low, high, clipped, count, nonFinite, dims },
      ...(mean === undefined ? {} : { mean }),
      ...(power === undefined ? {} : { power }),
      ...(histogram ? { histogram } : {}),
      ...(channels ? { channels } : {}),
    };
  }

  private range(record: TensorRecord): { low: number; high: number; clipped: number } {
    return chooseRange({ record, options: this.request.options, levels: this.request.levels ?? LEVELS_DEFAULT });
  }

  /** Sizes of the tensors for one sample; tensors without elements, which cannot be reduced, stay without values. */
  private async survey(): Promise<ReadonlyMap<string, readonly number[]>> {
    const { model, samples, context } = this.request;
    for await (const { feeds } of samples.runs(1, 1)) {
      const dims = await surveyDims(context.runtime, { model, names: [...this.records.keys()], feeds });
      return new Map([...dims].filter(([, sizes]) => !sizes.includes(0)));
    }
    throw new EngineError('dataset_invalid', 'The calibration data set has no samples.');
  }

  /** Batches are taken as they are proven to show what single samples show. Moving averages go sample by sample. */
  private async openObserver(dims: ReadonlyMap<string, readonly number[]>): Promise<{ observer: RunObserver; batch: number }> {
    const { model, samples, context } = this.request;
    const { channels = new Map<string, number>() } = this.request;
    const open = (batch: number): Promise<RunObserver> =>
      RunObserver.open(context.runtime, model, planReadings(this.readingRequest({ dims, batch }, channels)));
    const reading = histogramMethods.has(this.method) ? 'whole' : 'reduced';
    const batch = this.method === 'moving-average' ? 1 : wantedBatch(samples, { dims, reading });
    if (samples.fixedBatch !== null || batch === 1) return { observer: await open(1), batch };
    const observer = await open(batch);
    try {
      if (await isBatchable(observer, samples)) return { observer, batch };
      await observer.close();
    } catch (error) {
      await observer.close();
      throw error;
    }
    return { observer: await open(1), batch: 1 };
  }

  private readingRequest({ dims, batch }: RunShape, channels: ReadonlyMap<string, number>): ReadingRequest {
    const { model, samples, moments = false } = this.request;
    /** The last batch may be a smaller one. */
    const hasFixedRows = samples.fixedBatch !== null || batch === 1;
    return {
      ...{ graph: model.graph, opset: model.opset, dims, channels, batch },
      hasHistograms: histogramMethods.has(this.method),
      hasMoments: moments,
      hasFixedDims: hasFixedRows && model.graph.inputs.every(hasFixedSamples),
    };
  }

  private async runSamples(observer: RunObserver, shape: RunShape): Promise<void> {
    const { samples, options, context } = this.request;
    const limit = Math.min(this.given, options.samples ?? this.given);
    const stability = new RangeStability();
    let isNarrow = false;
    let phase = 0;
    for await (const { feeds, sampleCount } of samples.runs(shape.batch, limit)) {
      context.signal.throwIfAborted();
      for (const [name, observed] of await observer.run(feeds, phase)) this.records.get(name)?.add(observed);
      this.samplesRun += sampleCount;
      /** A prime step: strided values start elsewhere in every run. */
      phase += 7919;
      this.report(limit);
      const ranges = () => [...this.records.values()].map((record) => this.range(record));
      if (options.samples === undefined && stability.hasSettled(this.samplesRun, this.seconds(), ranges)) break;
      if (!isNarrow && this.samplesRun >= CHANNEL_SAMPLES && limit - this.samplesRun >= SAMPLES_WORTH_NARROWING) {
        isNarrow = true;
        await this.narrow(observer, shape);
      }
    }
  }

  /** Leaves out the channels that were seen enough. */
  private async narrow(observer: RunObserver, shape: RunShape): Promise<void> {
    const { channels = new Map<string, number>() } = this.request;
    const open = new Map([...channels].filter(([name]) => !this.records.get(name)?.hasSeen(CHANNEL_VALUES)));
    if (open.size < channels.size) await observer.narrow(planReadings(this.readingRequest(shape, open)));
  }

  private report(limit: number): void {
    const left = (this.seconds() * (limit - this.samplesRun)) / this.samplesRun;
    const estimate = left >= 1 ? `, about ${Math.round(left)} s left` : '';
    this.request.context.progress(this.samplesRun / limit, `calibration: ${this.samplesRun} of ${limit} samples${estimate}`);
  }

  private seconds(): number {
    return (performance.now() - this.started) / 1000;
  }
}

/** Whether samples of this input have one size: no axis but the first is open. */
function hasFixedSamples({ type }: Value): boolean {
  return type?.kind === 'tensor' && type.shape !== null && type.shape.slice(1).every((size) => typeof size === 'number');
}
