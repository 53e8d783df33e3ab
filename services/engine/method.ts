/** What every compression method is: a function that edits a model in place and says what it did to each node and why. */
import type { AcceleratorProfile } from './accelerators/profile.js';
import type { Model, Tensor } from './ir/index.js';
import type { InstructionSet } from './runtime/cpu.js';
import type { Runtime } from './runtime/execution-session.js';

/** One line of the report's `nodes[]`. */
export interface NodeChange {
  /** Name of the node in the source model, or the name of its first output when it has none. */
  readonly node: string;
  readonly op_type: string;
  readonly action: 'changed' | 'removed' | 'left';
  /** The method or pass that acted. */
  readonly by: string;
  /** One sentence: what was done, or why the node was left alone. */
  readonly reason: string;
}

/** What one run of a graph takes. */
export interface SampleRun {
  readonly feeds: ReadonlyMap<string, Tensor>;
  /** Samples in the feeds; above `sampleCount` when the last batch of a fixed size was filled up. */
  readonly rows: number;
  /** Real samples in this run: the first ones. */
  readonly sampleCount: number;
  /** One row per real sample. */
  readonly labels?: Tensor;
  /** The last season before the labels, one row per real sample: what a seasonal naive forecast repeats. */
  readonly lastSeason?: Tensor;
}

/** What errors of a forecast are measured in. */
export interface SeriesFacts {
  /** Rows of a sample's labels; null where samples are no windows. */
  readonly horizon: number | null;
  /** The unit of percentages: label times spread plus center. */
  readonly center: number;
  readonly spread: number;
  /** Mean absolute seasonal difference of the training part, in the unit of the labels; null: that of a seasonal naive forecast. */
  readonly naiveError: number | null;
}

/** An output of one run that is an input of the next one, by name. */
export interface CarriedState {
  readonly input: string;
  readonly output: string;
}

/** Samples as a graph takes them, streamed: never all in memory. Batched, stacked and shared inputs are in their places. */
export interface RunSource {
  readonly sampleCount: number;
  /** Samples that one run must take; null when the graph takes any number. */
  readonly fixedBatch: number | null;
  /** Bytes of one sample as it is fed. */
  readonly sampleBytes: number;
  /** States that the runs carry from one to the next; absent when there are none. */
  readonly states?: readonly CarriedState[];
  /** Present when the samples are of series. */
  readonly series?: SeriesFacts;
  /** Feeds for consecutive runs of `size` samples (or `fixedBatch`); at most `limit` samples. */
  runs(size: number, limit?: number): AsyncIterable<SampleRun>;
}

/** What the artifact must run well on. 'x64': one answer on every x64 CPU; 'x64-vnni': full int8 range; 'arm64'. */
export type Target = 'x64' | 'x64-vnni' | 'arm64';

/** 'latency' (default): nothing that this machine measures as slower is kept. 'size': nothing is timed. */
export type Objective = 'latency' | 'size';

/** What is known of one quantized layer; a field that was not measured is absent. The report's `layers[]`. */
export interface LayerReport {
  /** Name of the node in the source model, as in NodeChange. */
  readonly node: string;
  readonly op_type: string;
  /** What became of the layer, for example 'int8', 'int8 stored', '4 bit block 32', 'float32'. */
  readonly form: string;
  /** Bytes of its weights before and after, scales and zero points included. */
  readonly bytes_before?: number;
  readonly bytes_after?: number;
  /** Weights that are not zero, before and after. */
  readonly nonzeros_before?: number;
  readonly nonzeros_after?: number;
  /** 10 log10(sum y^2 / sum (y - y')^2) of its output with float inputs (only this layer quantized), in dB. */
  readonly sqnr_local_db?: number;
  /** The same with everything before it quantized, too. */
  readonly sqnr_db?: number;
  readonly cosine?: number;
  /** Range of the output that the scale covers. */
  readonly range?: readonly [number, number];
  readonly scale?: number;
  readonly zero_point?: number;
  /** Share of output values outside the range, 0 to 1. */
  readonly clipped?: number;
  /** Microseconds of the layer in the float model and in the artifact. */
  readonly time_before_us?: number;
  readonly time_after_us?: number;
  /** True when the runtime computes it with its integer kernel; otherwise `unfused_reason` says why not. */
  readonly fused?: boolean;
  readonly unfused_reason?: string;
  /** Largest |sum of a pair of products| that the weights allow with activation codes up to 255; above 32,767 the pair kernel of x64 without VNNI saturates. */
  readonly pair_bound?: number;
  readonly weight_histogram?: ValueHistogram;
  readonly activation_histogram?: ValueHistogram;
}

/** Counts in equal bins from `low` to `high`. */
export interface ValueHistogram {
  readonly low: number;
  readonly high: number;
  readonly counts: readonly number[];
}

/** How the ranges were found. The report's `calibration`. */
export interface CalibrationSummary {
  readonly method: string;
  /** Samples that were run, of those that were given. */
  readonly samples: number;
  readonly samples_given: number;
  readonly tensors: number;
  readonly seconds: number;
  readonly from_cache: boolean;
}

/** A budget that a recipe sets a method, and what the method's model came to. */
export interface BudgetOutcome {
  readonly figure: 'macs' | 'parameters' | 'bytes' | 'latency';
  /** Fractions of the figure of the model that the method was given. */
  readonly asked: number;
  readonly reached: number;
  /** False rejects the artifact. True for a budget that was given up for the bound on the loss of a metric. */
  readonly accepted: boolean;
}

/** One point of a learning curve: means over the steps since the point before. */
export interface LearningCurvePoint {
  readonly epoch: number;
  readonly step: number;
  readonly loss: number;
  /** Share of right answers on the training batches, as augmented; where labels are classes. */
  readonly accuracy?: number;
  readonly learning_rate: number;
}

/** Channels that a penalty pulled to zero. */
export interface RegularizerSummary {
  readonly kind: string;
  readonly strength: number;
  readonly units: number;
  /** Those below a hundredth of the largest of their layer or group. */
  readonly near_zero: number;
}

/** How a method learned. The report's `training[]`. */
export interface TrainingSummary {
  readonly method: string;
  readonly losses: readonly string[];
  /** Values inside student and teacher that were compared, by name; absent when there were none. */
  readonly hints?: readonly { readonly student: string; readonly teacher: string }[];
  /** What was pulled to zero beside the losses; absent when nothing was. */
  readonly regularizer?: RegularizerSummary;
  readonly steps: number;
  /** Step that a checkpoint of an earlier attempt stood at; 0 for a run in one piece. */
  readonly resumed_at: number;
  readonly seconds: number;
  readonly steps_per_second: number;
  /** Numbers that were trained. */
  readonly parameters: number;
  readonly curve: readonly LearningCurvePoint[];
}

/** How one map is coded without loss. The report's `maps[]`. Everything is per value of the map, over the samples. */
export interface MapCoding {
  /** Name of the value that the map is. */
  readonly map: string;
  /** The layer that makes it; the name of the input for an input of the model. */
  readonly node: string;
  /** Bits of a code before. */
  readonly bits: number;
  /** Values that were coded. */
  readonly values: number;
  /** Mean after coding, with everything that a decoder needs. */
  readonly bits_per_value: number;
  /** Entropy of the codes, and of their differences to the left neighbour, in bits. */
  readonly value_entropy: number;
  readonly delta_entropy: number;
  /** Integer operations of coder and decoder. */
  readonly encode_operations: number;
  readonly decode_operations: number;
}

/** What a method did to the model. */
export interface MethodOutcome {
  readonly nodes: readonly NodeChange[];
  readonly layers?: readonly LayerReport[];
  readonly calibration?: CalibrationSummary;
  readonly budgets?: readonly BudgetOutcome[];
  readonly training?: TrainingSummary;
  readonly maps?: readonly MapCoding[];
  /** Sentences for the report's `warnings`. */
  readonly warnings?: readonly string[];
}

/** Judges a candidate by the task metric of the recipe's gate on the labelled evaluation set. */
export interface AccuracyJudge {
  /** For example 'top1'. */
  readonly metric: string;
  /** The largest drop that the gate allows. */
  readonly maxDrop: number;
  /** Source metric minus candidate's (the other way round for errors): positive is worse. */
  drop(candidate: Model): Promise<number>;
}

export interface GradientRequest {
  readonly model: Model;
  /** Names of float32 initializers of the main graph. */
  readonly constants: readonly string[];
  readonly samples: RunSource;
  /** Samples whose mean loss one gradient is of: 1 for gradients of single samples. */
  readonly batch: number;
  readonly context: MethodContext;
}

/** dL/dw by constant, one map per batch, elements in the order of the constant. The loss is the source's own business. */
export type GradientSource = (request: GradientRequest) => AsyncIterable<ReadonlyMap<string, Float32Array>>;

/** Elements of a constant whose index along `axis` is one of `indices`. */
export interface ConstantSlices {
  /** Name of the initializer. */
  readonly constant: string;
  readonly axis: number;
  readonly indices: readonly number[];
  /** Only the elements whose index along this other axis is in [from, to). */
  readonly within?: { readonly axis: number; readonly from: number; readonly to: number };
}

/** Channels, features or heads of one stream, each with everything that goes when it goes. */
export interface RemovableGroup {
  readonly id: string;
  readonly units: readonly (readonly ConstantSlices[])[];
}

export interface StructureRequest {
  /** Its parameters are initializers. */
  readonly model: Model;
  /** Sizes of its values by name. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly states: readonly CarriedState[];
}

/** What could be taken out of a model without changing what the rest computes. */
export type StructureSource = (request: StructureRequest) => readonly RemovableGroup[];

export interface ResultCache {
  /** undefined when nothing is kept under this key. */
  get(key: string): Promise<string | undefined>;
  put(key: string, text: string): Promise<void>;
}

export interface MethodContext {
  readonly target: Target;
  /** The accelerator that the recipe names. */
  readonly accelerator?: AcceleratorProfile;
  readonly runtime: Runtime;
  /** Private folder for temporary files; removed by the caller. */
  readonly scratch: string;
  readonly objective: Objective;
  /** Unlabelled samples, when the caller gave a data set. */
  readonly calibration?: RunSource;
  /** Present when the gate bounds the loss of a metric and the evaluation set has labels. */
  readonly judge?: AccuracyJudge;
  /** Calibration results of this model, data and recipe; absent when nothing is to be kept. */
  readonly calibrationCache?: ResultCache;
  /** Times of layers on this processor with this runtime, of any model; absent when nothing is to be kept. */
  readonly latencyCache?: ResultCache;
  /** Feeds that the source runs on, from the evaluation set or made up. */
  readonly sample?: ReadonlyMap<string, Tensor>;
  /** Of the processor that the job runs on, where it is known. */
  readonly isa?: InstructionSet;
  /** For criteria that ask what the loss says. */
  readonly gradients?: GradientSource;
  /** For penalties on whole channels. */
  readonly removableGroups?: StructureSource;
  /** The model of the job as it came in: the teacher of what is made of it. */
  readonly source?: Model;
  /** A teacher that the job brings. */
  readonly teacher?: Model;
  /** Existing folder whose files outlive a killed process: a method that takes long goes on from there. */
  readonly checkpoints?: string;
  /** Time between two checkpoints. Default 15 s. */
  readonly checkpointEveryMs?: number;
  /** Place of the step in the recipe, from 0. */
  readonly step?: number;
  /** The methods that the recipe applies afterwards. */
  readonly followedBy?: readonly string[];
  /** Aborted on cancellation or timeout; long loops call throwIfAborted(). */
  readonly signal: AbortSignal;
  /** `fraction` of this method done, 0 to 1. */
  progress(fraction: number, message: string): void;
}

export type Method<Options> = (model: Model, options: Options, context: MethodContext) => Promise<MethodOutcome>;

/** The context for a part of the work, with progress between `from` and `to`. */
export function partOf(context: MethodContext, from: number, to: number): MethodContext {
  return { ...context, progress: (fraction, message) => context.progress(from + (to - from) * Math.min(1, fraction), message) };
}

/** All but the first `count` samples of a source, and but the rest of the run that those end in. */
export function samplesAfter(source: RunSource, count: number): RunSource {
  const sampleCount = Math.max(0, source.sampleCount - count);
  return {
    ...source,
    sampleCount,
    async *runs(size, limit = sampleCount) {
      let passed = 0;
      for await (const run of source.runs(size, count + limit)) {
        if (passed >= count) yield run;
        passed += run.sampleCount;
      }
    },
  };
}

/** The first `count` samples of a source. */
export function firstSamples(source: RunSource, count: number): RunSource {
  return {
    ...source,
    sampleCount: Math.min(source.sampleCount, count),
    runs: (size, limit = count) => source.runs(size, Math.min(limit, count)),
  };
}

/** Methods that train weights in float. */
export const learningMethods: ReadonlySet<string> = new Set(['train', 'fine-tune', 'distill']);
