/** The port through which the engine runs graphs. Adapters: ort-session.ts. Feeds and fetches are IR tensors. */
import type { DataType, Model, Shape, Tensor } from '../ir/index.js';

export interface InputOutputInfo {
  readonly name: string;
  readonly dataType: DataType;
  /** null when the model declares no shape; [] is a scalar. */
  readonly shape: Shape | null;
}

export interface ExecutionSession {
  /** Graph inputs that a caller must feed; initializers that may be overridden are not among them. */
  readonly inputs: readonly InputOutputInfo[];
  readonly outputs: readonly InputOutputInfo[];
  /**
   * Runs once. `fetches` defaults to all outputs. Throws EngineError `dataset_invalid` when a feed does not fit the
   * declared inputs and `runtime_failed` when the runtime refuses.
   */
  run(feeds: ReadonlyMap<string, Tensor>, fetches?: readonly string[]): Promise<Map<string, Tensor>>;
  /** Frees native memory; must be called (garbage collection does not do it in time). */
  close(): Promise<void>;
}

export interface SessionOptions {
  /** Default 'all'; 'disabled' is the numeric ground truth. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all';
  /** Threads inside an operator; default: physical cores of the machine. */
  readonly threads?: number;
  /** False allocates values one by one instead of all at once from the second run on, beside what the first run took. Default true. */
  readonly memoryPattern?: boolean;
  /** Runtime configuration entries by dotted key, e.g. 'session.disable_quant_qdq': '1'. Values are strings. */
  readonly config?: Readonly<Record<string, string>>;
  /** Where to write the graph as the runtime optimized it; diagnostic only. */
  readonly optimizedModelPath?: string;
  /** Where the runtime writes the times of its kernels when the session closes: the first letters of the file's path. */
  readonly profilePrefix?: string;
}

/**
 * Configuration of a session that is timed. Threads spin, as a program with the runtime's default settings sees it, but only between the
 * runs of one turn: those of a session whose turn is over otherwise hold a core while another one is timed (decision 0014).
 */
export const timedConfig = { 'session.intra_op.allow_spinning': '1', 'session.intra_op.spin_duration_us': '100' } as const;

/** Time of one kernel of the optimized graph; its node is named after nodes or values of the model it was made from. */
export interface KernelTime {
  readonly node: string;
  readonly opType: string;
  /** Of the fastest run; the profiler itself adds some microseconds. */
  readonly microseconds: number;
}

export interface ProfileOptions {
  /** Wall time for all models together; each runs a few times whatever that takes. */
  readonly budgetMs: number;
  readonly signal: AbortSignal;
}

export interface Runtime {
  /** Name and version, e.g. 'onnxruntime-node 1.30.0'. */
  readonly name: string;
  /** Threads inside an operator unless a session asks for others. */
  readonly threads: number;
  /**
   * Opens a model file, or an IR model (written to the runtime's scratch folder first). Throws EngineError
   * `model_invalid`, `model_unsupported`, `opset_unsupported`, `external_data_invalid` or `runtime_failed`.
   */
  open(model: string | Model, options?: SessionOptions): Promise<ExecutionSession>;
  /**
   * The same on a thread of its own, by default one in all: its runs go on beside those of other sessions, where those of `open` take
   * turns. Feeds and results are copied on the way. `outputs` are those that the model declares a type of.
   */
  openOnThread(model: Model, options?: SessionOptions): Promise<ExecutionSession>;
  /** Kernel times of each model, runs in turns, with `timedConfig`. */
  profile(
    models: readonly (string | Model)[],
    feeds: ReadonlyMap<string, Tensor>,
    options: ProfileOptions,
  ): Promise<readonly (readonly KernelTime[])[]>;
}
