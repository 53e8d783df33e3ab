/** The onnxruntime-node adapter of the execution port: the only file that opens and runs native sessions. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { EngineError } from '../engine-errors.js';
import type { DataType, Model, Tensor } from '../ir/index.js';
import { decodeModelFile, encodeModelFile } from '../onnx/index.js';
import { describeCpu } from './cpu.js';
import type { ExecutionSession, InputOutputInfo, Runtime, SessionOptions } from './execution-session.js';
import { checkFeeds } from './feed-check.js';
import { declaredInputs, declaredOutputs, largestConstantElements } from './graph-interface.js';
import { profileKernels } from './kernel-profile.js';
import { loadableModel } from './loadable-model.js';
import { loadFailure, runFailure } from './ort-failures.js';
import { fromOrtTensor, toOrtTensor } from './ort-tensors.js';
import { SessionThread } from './thread-session.js';

/** Folding stops at this size unless the model's own largest constant is larger: a small file must not unfold into gigabytes. */
const FOLDED_BYTES_MIN = 16 * 2 ** 20;
/** A byte with four weights of 2 bits unfolds into four float32. */
const FOLDED_BYTES_PER_ELEMENT = 16;

/** A session whose feeds can be bound once and run many times: what a latency measurement needs. */
export interface OrtSession extends ExecutionSession {
  /** Checks and converts the feeds; each call of the returned function is one run of the native session. */
  prepare(feeds: ReadonlyMap<string, Tensor>, fetches?: readonly string[]): () => Promise<void>;
}

export interface OrtRuntime extends Runtime {
  open(model: string | Model, options?: SessionOptions): Promise<OrtSession>;
}

export interface OrtRuntimeOptions {
  /** Existing private folder for the files of IR models; each is removed when its session closes. */
  readonly scratch: string;
  /** Default: physical cores of the machine. */
  readonly threads?: number;
}

function packageVersion(): string {
  const path = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
  const parsed: unknown = JSON.parse(readFileSync(path, 'utf8'));
  return typeof parsed === 'object' && parsed !== null && 'version' in parsed ? String(parsed.version) : 'unknown';
}

/** The runtime that everything in the engine runs on. */
export function createOrtRuntime(options: OrtRuntimeOptions): OrtRuntime {
  const threads = options.threads ?? describeCpu().physicalCores;
  const runtime: OrtRuntime = {
    name: `onnxruntime-node ${packageVersion()}`,
    threads,
    profile: (models, feeds, profileOptions) =>
      profileKernels(
        (model, sessionOptions) => runtime.open(model, sessionOptions),
        { models, feeds, scratch: options.scratch },
        profileOptions,
      ),
    async open(model, sessionOptions = {}) {
      const decoded = typeof model === 'string' ? decodeModelFile(model) : model;
      const loadable = loadableModel(decoded);
      if (typeof model === 'string' && loadable === decoded) return openFile(model, decoded, { threads, ...sessionOptions });
      return fromFile(options.scratch, loadable, (path, release) => openFile(path, loadable, { threads, ...sessionOptions }, release));
    },
    openOnThread(model, sessionOptions = {}) {
      const loadable = loadableModel(model);
      const own = { threads: 1, ...sessionOptions };
      return fromFile(options.scratch, loadable, (path, release) => onThread(path, loadable, own, release));
    },
  };
  return runtime;
}

/** The file of an IR model lies in a folder of its own until the session that `open` gives is closed. */
async function fromFile<T>(scratch: string, model: Model, open: (path: string, release: () => Promise<void>) => Promise<T>): Promise<T> {
  const folder = join(scratch, `session-${randomUUID()}`);
  await mkdir(folder, { recursive: true });
  const release = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const path = join(folder, 'model.onnx');
    encodeModelFile(model, path);
    return await open(path, release);
  } catch (error) {
    await release();
    throw error;
  }
}

async function onThread(
  path: string,
  model: Model,
  options: SessionOptions & { threads: number },
  onClose: () => Promise<void>,
): Promise<ExecutionSession> {
  const inputs = declaredInputs(model);
  const outputs = declaredOutputs(model).flatMap((output) => output ?? []);
  const thread = await SessionThread.open(path, nativeOptions(model, options));
  return {
    inputs,
    outputs,
    async run(feeds, fetches = outputs.map(({ name }) => name)) {
      checkFeeds(feeds, inputs);
      return thread.run(feeds, fetches);
    },
    async close() {
      await thread.close();
      await onClose();
    },
  };
}

/**
 * Threads spin from kernel to kernel, but no longer: with the default they hold a core long after a run, and take it from the very thread
 * that is waited for where others use the machine, too. Without any spinning a network of short kernels takes up to twice its time.
 * A session that says anything of spinning itself says all of it.
 */
const restingThreads = { 'session.intra_op.allow_spinning': '1', 'session.intra_op.spin_duration_us': '20' } as const;

function nativeOptions(model: Model, options: SessionOptions & { threads: number }): InferenceSession.SessionOptions {
  const foldedBytes = Math.max(FOLDED_BYTES_MIN, FOLDED_BYTES_PER_ELEMENT * largestConstantElements(model));
  return {
    executionProviders: ['cpu'],
    graphOptimizationLevel: options.optimization ?? 'all',
    intraOpNumThreads: options.threads,
    interOpNumThreads: 1,
    ...(options.memoryPattern === undefined ? {} : { enableMemPattern: options.memoryPattern }),
    /** Errors come back as exceptions; the log would repeat them on standard error. */
    logSeverityLevel: 4,
    ...(options.optimizedModelPath ? { optimizedModelFilePath: options.optimizedModelPath } : {}),
    ...(options.profilePrefix ? { enableProfiling: true, profileFilePrefix: options.profilePrefix } : {}),
    extra: {
      ...('session.intra_op.allow_spinning' in (options.config ?? {}) ? {} : restingThreads),
      'optimization.constant_folding_max_output_size_in_bytes': String(foldedBytes),
      ...options.config,
    },
  };
}

async function openFile(
  path: string,
  model: Model,
  options: SessionOptions & { threads: number },
  onClose: () => Promise<void> = async () => {},
): Promise<OrtSession> {
  const inputs = declaredInputs(model);
  const declared = declaredOutputs(model);
  let native: InferenceSession;
  try {
    native = await InferenceSession.create(path, nativeOptions(model, options));
  } catch (error) {
    throw loadFailure(error, path);
  }
  try {
    const outputs = declared.map((output, index) => output ?? inferredOutput(native, index));
    return sessionOver(native, { inputs, outputs, onClose });
  } catch (error) {
    await native.release();
    throw error;
  }
}

/** What the runtime inferred for an output that the model leaves untyped. It does not tell a scalar from an unknown shape. */
function inferredOutput(native: InferenceSession, index: number): InputOutputInfo {
  const metadata = native.outputMetadata[index];
  const name = native.outputNames[index] ?? '';
  if (!metadata?.isTensor)
    throw new EngineError('model_unsupported', `The output "${name}" cannot be used: it is not a tensor.`, { output: name });
  return {
    name,
    dataType: metadata.type as DataType,
    shape: metadata.shape.length > 0 ? metadata.shape.map((size) => (size === '' ? null : size)) : null,
  };
}

interface SessionParts {
  readonly inputs: readonly InputOutputInfo[];
  readonly outputs: readonly InputOutputInfo[];
  onClose(): Promise<void>;
}

function sessionOver(native: InferenceSession, { inputs, outputs, onClose }: SessionParts): OrtSession {
  const outputNames = outputs.map((output) => output.name);
  let closed = false;
  const bind = (feeds: ReadonlyMap<string, Tensor>): InferenceSession.OnnxValueMapType => {
    checkFeeds(feeds, inputs);
    return Object.fromEntries([...feeds].map(([name, tensor]) => [name, toOrtTensor(tensor)]));
  };
  const runNative = async (feeds: InferenceSession.OnnxValueMapType, fetches: readonly string[]): Promise<InferenceSession.ReturnType> => {
    try {
      return await native.run(feeds, fetches);
    } catch (error) {
      throw runFailure(error);
    }
  };
  return {
    inputs,
    outputs,
    async run(feeds, fetches = outputNames) {
      const results = await runNative(bind(feeds), fetches);
      return new Map(fetches.map((name) => [name, fromOrtTensor(fetched(results, name))]));
    },
    prepare(feeds, fetches = outputNames) {
      const bound = bind(feeds);
      return async () => {
        await runNative(bound, fetches);
      };
    },
    async close() {
      if (closed) return;
      closed = true;
      await native.release();
      await onClose();
    },
  };
}

function fetched(results: InferenceSession.ReturnType, name: string): InferenceSession.ReturnType[string] {
  const value = results[name];
  if (!value) throw new EngineError('runtime_failed', `The runtime returned no value for output "${name}".`);
  return value;
}
