/** What every compression method is: a function that edits a model in place and says what it did to each node and why. */
import type { Model, Tensor } from './ir/index.js';
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

/** Named samples, streamed: never all in memory. Arrays are named as the graph inputs, plus optional `labels`. */
export interface SampleSource {
  readonly sampleCount: number;
  /** Batches of at most `size` consecutive samples; the first axis of each tensor is the sample axis. */
  batches(size: number): AsyncIterable<ReadonlyMap<string, Tensor>>;
}

/** What the artifact must run well on. 'x64': one answer on every x64 CPU; 'x64-vnni': full int8 range; 'arm64'. */
export type Target = 'x64' | 'x64-vnni' | 'arm64';

export interface MethodContext {
  readonly target: Target;
  readonly runtime: Runtime;
  /** Private folder for temporary files; removed by the caller. */
  readonly scratch: string;
  /** Unlabelled samples, when the caller gave a data set. */
  readonly calibration?: SampleSource;
  /** Aborted on cancellation or timeout; long loops call throwIfAborted(). */
  readonly signal: AbortSignal;
  /** `fraction` of this method done, 0 to 1. */
  progress(fraction: number, message: string): void;
}

export type Method<Options> = (model: Model, options: Options, context: MethodContext) => Promise<NodeChange[]>;
