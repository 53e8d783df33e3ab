/** Latency of model files on this machine, in turns: what `lathe benchmark` prints. */
import { decodeModelFile } from '../onnx/index.js';
import { type BenchmarkSubject, type Latency, measureLatencies } from '../runtime/benchmark.js';
import { describeCpu } from '../runtime/cpu.js';
import { createOrtRuntime, type OrtRuntime } from '../runtime/ort-session.js';
import { describeEnvironment } from './environment.js';
import { datasetSource, generatedSource } from './evaluation-source.js';
import type { Environment } from './report.js';

export interface BenchmarkRequest {
  readonly modelPaths: readonly string[];
  /** A data set whose first sample is fed; default: inputs made from each model's declarations. */
  readonly dataPath?: string;
  /** Existing private folder for temporary files. */
  readonly scratch: string;
  readonly signal?: AbortSignal;
  readonly threads?: number;
  /** Wall time for all models together in milliseconds. Default 750 for each. */
  readonly budgetMs?: number;
  onProgress?(fraction: number): void;
}

export interface BenchmarkResult {
  readonly models: readonly (Latency & { readonly path: string })[];
  readonly environment: Environment;
}

const BUDGET_MS_EACH = 750;

/** Throws EngineError when a model does not load or run. */
export async function benchmark(request: BenchmarkRequest): Promise<BenchmarkResult> {
  const runtime = createOrtRuntime({ scratch: request.scratch, ...(request.threads ? { threads: request.threads } : {}) });
  const subjects: BenchmarkSubject[] = [];
  for (const path of request.modelPaths) subjects.push({ model: path, feeds: await firstFeeds(runtime, path, request) });
  const latencies = await measureLatencies(runtime, subjects, {
    budgetMs: request.budgetMs ?? BUDGET_MS_EACH * subjects.length,
    ...(request.signal ? { signal: request.signal } : {}),
    progress: (fraction) => request.onProgress?.(fraction),
  });
  return {
    models: latencies.map((latency, index) => ({ path: request.modelPaths[index] ?? '', ...latency })),
    environment: describeEnvironment(describeCpu(), runtime),
  };
}

async function firstFeeds(runtime: OrtRuntime, path: string, { dataPath, scratch }: BenchmarkRequest): Promise<BenchmarkSubject['feeds']> {
  const session = await runtime.open(path);
  try {
    const source = dataPath
      ? await datasetSource({ path: dataPath, scratch, open: () => runtime.open(path) }, session)
      : await generatedSource(decodeModelFile(path), session);
    await source.close();
    return source.first;
  } finally {
    await session.close();
  }
}
