/** The doctor: why a quantized model is slow or answers differently, and the repair that is proved equal: what `lathe doctor` prints. */
import { type Dataset, openDataset } from '../data/dataset.js';
import { EngineError } from '../engine-errors.js';
import { cloneModel, float32Values, type Model, type Tensor } from '../ir/index.js';
import { verifyModel } from '../ir/verify-graph.js';
import type { MethodContext, NodeChange, RunSource } from '../method.js';
import { decodeModelFile, encodeModelFile } from '../onnx/index.js';
import { repairQdq } from '../quantization/index.js';
import { type Latency, measureLatencies } from '../runtime/benchmark.js';
import { createOrtRuntime, type OrtRuntime } from '../runtime/ort-session.js';
import { examineModel, type ModelDiagnosis } from './examine-model.js';
import { repairSamples } from './repair-samples.js';

export interface DiagnoseRequest {
  readonly modelPath: string;
  /** Where to write the repaired model; nothing is repaired without it. */
  readonly fixPath?: string;
  /** Kinds to repair; default all that can be repaired exactly. */
  readonly only?: readonly string[];
  /** .npz or .npy with samples to prove the repairs on; default: inputs made from the model's declarations. */
  readonly dataPath?: string;
  /** Existing private folder for temporary files. */
  readonly scratch: string;
  readonly signal?: AbortSignal;
  readonly threads?: number;
  onProgress?(fraction: number, message: string): void;
}

export interface DiagnoseResult extends ModelDiagnosis {
  readonly repair: RepairResult | null;
}

/** One model on this machine. */
export interface MeasuredModel {
  readonly latency: Latency;
  /** Largest absolute difference of any float output to the same file without the runtime's optimizer: what fusing changes, saturation included. */
  readonly fused_difference: number;
}

export interface RepairResult {
  readonly path: string;
  readonly repaired: readonly NodeChange[];
  readonly warnings: readonly string[];
  /** The repaired model, examined in the same way. */
  readonly after: ModelDiagnosis;
  /** Before and after, latencies taken in turns; null when nothing was repaired. */
  readonly measured: { readonly before: MeasuredModel; readonly after: MeasuredModel } | null;
}

const LATENCY_BUDGET_MS = 1500;
/** Samples on which fused and unfused outputs are compared. */
const COMPARED_SAMPLES = 8;

/** Throws EngineError when the file is no model, when the model is to be repaired and does not run, or when data do not fit. */
export async function diagnose(request: DiagnoseRequest): Promise<DiagnoseResult> {
  const runtime = createOrtRuntime({ scratch: request.scratch, ...(request.threads ? { threads: request.threads } : {}) });
  const model = decodeModelFile(request.modelPath);
  request.onProgress?.(0, 'examining the model');
  const before = await examineModel(model, runtime, request.scratch);
  if (!request.fixPath) return { ...before, repair: null };
  if (before.refusal !== null)
    throw new EngineError('model_unsupported', `The model cannot be repaired, because it does not run: ${before.refusal}`);
  return { ...before, repair: await repair(model, request.fixPath, { request, runtime }) };
}

interface Work {
  readonly request: DiagnoseRequest;
  readonly runtime: OrtRuntime;
}

async function repair(model: Model, path: string, { request, runtime }: Work): Promise<RepairResult> {
  const { scratch, dataPath, only } = request;
  const dataset = dataPath ? await openSamples(dataPath, model, { request, runtime }) : undefined;
  const context: MethodContext = {
    target: 'x64',
    objective: 'latency',
    runtime,
    scratch,
    ...(dataset ? { calibration: dataset } : {}),
    signal: request.signal ?? new AbortController().signal,
    progress: (fraction, message) => request.onProgress?.(0.1 + 0.6 * fraction, message),
  };
  try {
    const calibration = await repairSamples(model, context);
    const source = cloneModel(model);
    const { nodes, warnings = [] } = await repairQdq(model, only ? { only } : {}, { ...context, calibration });
    verifyModel(model);
    encodeModelFile(model, path);
    const written = decodeModelFile(path);
    const after = await examineModel(written, runtime, scratch);
    const repaired = nodes.filter(({ action }) => action !== 'left');
    request.onProgress?.(0.7, 'measuring, in turns');
    const measured = repaired.length > 0 ? await measure([source, written], calibration, { context, runtime }) : null;
    return { path, repaired, warnings, after, measured };
  } finally {
    await dataset?.close();
  }
}

async function openSamples(path: string, model: Model, { request, runtime }: Work): Promise<Dataset> {
  const session = await runtime.open(model, { optimization: 'disabled' });
  await session.close();
  const { inputs, outputs } = session;
  return openDataset({ path, scratch: request.scratch }, inputs, { outputs, open: () => runtime.open(request.modelPath) });
}

async function measure(
  models: readonly Model[],
  samples: RunSource,
  { context, runtime }: { context: MethodContext; runtime: OrtRuntime },
): Promise<RepairResult['measured']> {
  const differences: number[] = [];
  for (const model of models) differences.push(await fusedDifference(model, samples, runtime));
  for await (const { feeds } of samples.runs(1, 1)) {
    const subjects = models.map((model) => ({ model, feeds }));
    const latencies = await measureLatencies(runtime, subjects, { budgetMs: LATENCY_BUDGET_MS, signal: context.signal });
    const [before, after] = latencies.map((latency, at) => ({ latency, fused_difference: differences[at] ?? Number.NaN }));
    if (before && after) return { before, after };
  }
  return null;
}

async function fusedDifference(model: Model, samples: RunSource, runtime: OrtRuntime): Promise<number> {
  const plain = await runtime.open(model, { optimization: 'disabled' });
  try {
    const fused = await runtime.open(model);
    try {
      let largest = 0;
      for await (const { feeds } of samples.runs(1, COMPARED_SAMPLES)) {
        largest = Math.max(largest, largestDifference(await plain.run(feeds), await fused.run(feeds)));
      }
      return largest;
    } finally {
      await fused.close();
    }
  } finally {
    await plain.close();
  }
}

function largestDifference(a: ReadonlyMap<string, Tensor>, b: ReadonlyMap<string, Tensor>): number {
  let largest = 0;
  for (const [name, tensor] of a) {
    const other = b.get(name);
    if (tensor.dataType !== 'float32' || other?.dataType !== 'float32') continue;
    const values = float32Values(other);
    for (const [at, value] of float32Values(tensor).entries()) largest = Math.max(largest, Math.abs(value - (values[at] ?? 0)));
  }
  return largest;
}
