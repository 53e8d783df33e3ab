/** The doctor: what is wrong with a quantized model, why the runtime leaves nodes in float, on which processors it saturates, and the repair. */
import { openDataset } from '../data/dataset.js';
import { EngineError } from '../engine-errors.js';
import { type QuantizationState, quantizationState } from '../inspection/index.js';
import type { Model } from '../ir/index.js';
import { verifyModel } from '../ir/verify-graph.js';
import type { MethodContext, MethodOutcome, NodeChange, Target } from '../method.js';
import { decodeModelFile, encodeModelFile } from '../onnx/index.js';
import {
  describeSaturation,
  diagnoseModel,
  type Finding,
  type ProductSaturation,
  repairQdq,
  saturationReport,
} from '../quantization/index.js';
import { type Latency, measureLatencies } from '../runtime/benchmark.js';
import { createOrtRuntime, type OrtRuntime } from '../runtime/ort-session.js';
import { repairSamples } from './repair-samples.js';
import { type RuntimeView, viewOfRuntime } from './runtime-view.js';

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

export interface DiagnosedFinding extends Finding {
  /** For findings of effect 'float': whether the runtime of this machine does leave one of the nodes in float. null when it was not asked. */
  readonly confirmed: boolean | null;
}

export interface ModelDiagnosis {
  readonly quantization: QuantizationState;
  readonly findings: readonly DiagnosedFinding[];
  /** null with `refusal` when the runtime does not load the model. */
  readonly runtime: RuntimeView | null;
  readonly refusal: string | null;
  /** Nodes that the runtime leaves in float without a finding that says why. */
  readonly unexplained: readonly string[];
  readonly saturation: {
    readonly sentence: string;
    readonly exact_on: readonly Target[];
    readonly saturating: readonly ProductSaturation[];
  };
}

export interface DiagnoseResult extends ModelDiagnosis {
  readonly repair: RepairResult | null;
}

export interface RepairResult {
  readonly path: string;
  readonly repaired: readonly NodeChange[];
  readonly warnings: readonly string[];
  /** The repaired model, examined in the same way. */
  readonly after: ModelDiagnosis;
  /** Measured in turns on this machine. */
  readonly latency: { readonly before: Latency; readonly after: Latency };
}

const LATENCY_BUDGET_MS = 1500;

/** Throws EngineError when the file is no model, when the model is to be repaired and does not run, or when data do not fit. */
export async function diagnose(request: DiagnoseRequest): Promise<DiagnoseResult> {
  const runtime = createOrtRuntime({ scratch: request.scratch, ...(request.threads ? { threads: request.threads } : {}) });
  const model = decodeModelFile(request.modelPath);
  request.onProgress?.(0, 'examining the model');
  const before = await examine(model, runtime, request);
  if (!request.fixPath) return { ...before, repair: null };
  if (before.refusal !== null)
    throw new EngineError('model_unsupported', `The model cannot be repaired, because it does not run: ${before.refusal}`);
  return { ...before, repair: await repair(model, request.fixPath, { request, runtime }) };
}

async function examine(model: Model, runtime: OrtRuntime, { scratch }: DiagnoseRequest): Promise<ModelDiagnosis> {
  const seen = await viewOfRuntime(runtime, model, scratch);
  const view = 'refusal' in seen ? null : seen;
  const left = new Set(view?.unfused.map(({ node }) => node));
  const inFloat = new Set([...left, ...(view?.islands ?? [])]);
  const findings = diagnoseModel(model).map((finding) => ({
    ...finding,
    confirmed: view && finding.effect === 'float' ? finding.affects.some((node) => inFloat.has(node)) : null,
  }));
  const explained = new Set(findings.filter(({ effect }) => effect !== 'harmless').flatMap(({ affects }) => affects));
  const report = saturationReport(model);
  return {
    quantization: quantizationState(model),
    findings,
    runtime: view,
    refusal: 'refusal' in seen ? seen.refusal : null,
    unexplained: [...left].filter((node) => !explained.has(node)),
    saturation: {
      sentence: describeSaturation(report),
      exact_on: report.exact_on,
      saturating: report.products.filter(({ saturates }) => saturates),
    },
  };
}

interface Work {
  readonly request: DiagnoseRequest;
  readonly runtime: OrtRuntime;
}

async function repair(model: Model, path: string, { request, runtime }: Work): Promise<RepairResult> {
  const dataset = request.dataPath
    ? await openDataset({ path: request.dataPath, scratch: request.scratch }, await inputsOf(model, runtime))
    : undefined;
  const context: MethodContext = {
    target: 'x64',
    objective: 'latency',
    runtime,
    scratch: request.scratch,
    ...(dataset ? { calibration: dataset } : {}),
    signal: request.signal ?? new AbortController().signal,
    progress: (fraction, message) => request.onProgress?.(0.1 + 0.6 * fraction, message),
  };
  try {
    const samples = await repairSamples(model, context);
    const outcome: MethodOutcome = await repairQdq(model, request.only ? { only: request.only } : {}, { ...context, calibration: samples });
    verifyModel(model);
    encodeModelFile(model, path);
    request.onProgress?.(0.7, 'measuring, in turns');
    const after = await examine(decodeModelFile(path), runtime, request);
    const latency = await latencies([request.modelPath, path], { samples, context, runtime });
    const repaired = outcome.nodes.filter(({ action }) => action !== 'left');
    return { path, repaired, warnings: outcome.warnings ?? [], after, latency };
  } finally {
    await dataset?.close();
  }
}

async function inputsOf(model: Model, runtime: OrtRuntime) {
  const session = await runtime.open(model);
  await session.close();
  return session.inputs;
}

async function latencies(
  paths: readonly string[],
  { samples, context, runtime }: { samples: Awaited<ReturnType<typeof repairSamples>>; context: MethodContext; runtime: OrtRuntime },
): Promise<RepairResult['latency']> {
  for await (const { feeds } of samples.runs(1, 1)) {
    const subjects = paths.map((model) => ({ model, feeds }));
    const [before, after] = await measureLatencies(runtime, subjects, { budgetMs: LATENCY_BUDGET_MS, signal: context.signal });
    if (before && after) return { before, after };
  }
  throw new RangeError('latencies: one for each model');
}
