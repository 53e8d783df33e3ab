/** The main job: decode, clean up, apply the steps, verify, write, load what was written, measure it against the source, report. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { packageVersion } from '#platform/programs';
import { openDataset } from '../data/dataset.js';
import { EngineError } from '../engine-errors.js';
import { inspectModel } from '../inspection/index.js';
import type { Model, Tensor } from '../ir/index.js';
import { verifyModel } from '../ir/verify-graph.js';
import type { MethodContext, MethodOutcome, ResultCache } from '../method.js';
import { decodeModelFile, encodeModelFile } from '../onnx/index.js';
import { removableGroups } from '../pruning/index.js';
import { describeCpu } from '../runtime/cpu.js';
import type { InputOutputInfo } from '../runtime/execution-session.js';
import { createOrtRuntime, type OrtRuntime } from '../runtime/ort-session.js';
import { lossGradients } from '../training/index.js';
import { accuracyJudge } from './accuracy-judge.js';
import { openCalibrationCache } from './calibration-cache.js';
import { compressedBytes } from './compressed-size.js';
import { describeEnvironment } from './environment.js';
import { datasetSource, type EvaluationSource, generatedSource } from './evaluation-source.js';
import { renderHtmlReport } from './html-report.js';
import { openLatencyCache } from './latency-cache.js';
import { measurePair } from './measure.js';
import { applyStep } from './methods.js';
import { describeModelFiles } from './model-files.js';
import { acceleratorOf, type CompressionPlan, imageOptionsOf, objectiveOf, processorOf, stepsToRun } from './plan.js';
import { type ProgressEvent, ProgressMeter } from './progress.js';
import { buildReport, type CompressionReport } from './report.js';
import { compareTraffic } from './traffic.js';

export interface CompressRequest {
  readonly modelPath: string;
  readonly plan: CompressionPlan;
  /** .npz or .npy with unlabelled samples, for methods that need data. */
  readonly calibration?: string;
  /** .npz with samples and optional `labels`, for fidelity and metrics. Default: the calibration set, else generated inputs. */
  readonly evaluation?: string;
  /** Folder for model.onnx (and model.onnx.data), report.json and report.html; made when missing. */
  readonly outDir: string;
  /** Existing private folder for temporary files; the caller removes it. */
  readonly scratch: string;
  /** Folder in which calibration results are kept between jobs, by model and data; made when missing. Default: none are kept. */
  readonly calibrationCache?: string;
  /** A trained model that the method distill follows; default: the model itself as it came in. */
  readonly teacherPath?: string;
  /** Existing folder for what a killed run goes on from; the caller removes it when the job is over. Default: nothing is kept. */
  readonly checkpoints?: string;
  /** Time between two checkpoints in milliseconds. Default 15,000. */
  readonly checkpointEveryMs?: number;
  /** Folder in which times of layers on this machine are kept between jobs; made when missing. Default: none are kept. */
  readonly latencyCache?: string;
  readonly signal?: AbortSignal;
  onProgress?(event: ProgressEvent): void;
  /** Wall time for the latency measurement in milliseconds. Default 1000. */
  readonly measureBudgetMs?: number;
  /** Threads inside an operator. Default: physical cores. */
  readonly threads?: number;
}

export interface CompressResult {
  /** model.onnx first, then its external data when there is any. */
  readonly modelFiles: readonly string[];
  readonly reportPath: string;
  /** The same as a page for a person. */
  readonly htmlReportPath: string;
  readonly report: CompressionReport;
  /** False when a bound of the recipe's gate was missed; the files are written all the same. */
  readonly gatePassed: boolean;
}

/** Everything the phases share. */
interface Work {
  readonly request: CompressRequest;
  readonly runtime: OrtRuntime;
  readonly signal: AbortSignal;
  readonly meter: ProgressMeter;
}

const MEASURE_BUDGET_MS = 1000;
/** Calibration samples that stand in for an evaluation set show in this time what they can show. */
const FIDELITY_BUDGET_MS = 500;

/**
 * Compresses one model. Throws EngineError: `model_*`, `opset_unsupported`, `external_data_invalid`, `dataset_invalid`,
 * `recipe_invalid` for what the caller sent, `runtime_failed` when the source or the artifact does not run,
 * `canceled` when `signal` was aborted.
 */
export async function compress(request: CompressRequest): Promise<CompressResult> {
  const signal = request.signal ?? new AbortController().signal;
  const steps = stepsToRun(request.plan);
  acceleratorOf(request.plan);
  const meter = new ProgressMeter(steps, (event) => request.onProgress?.(event));
  const runtime = createOrtRuntime({ scratch: request.scratch, ...(request.threads ? { threads: request.threads } : {}) });
  try {
    return await run({ request, runtime, signal, meter });
  } catch (error) {
    if (signal.aborted && !(error instanceof EngineError))
      throw new EngineError('canceled', 'The compression was canceled.', {}, { cause: error });
    throw error;
  }
}

async function run(work: Work): Promise<CompressResult> {
  const { request, runtime, meter, signal } = work;
  meter.begin('decode', 'reading the model');
  const source = decodeModelFile(request.modelPath);
  const sourceFiles = await describeModelFiles(request.modelPath);
  const checked = await selfCheck(work, source);
  try {
    const artifact = decodeModelFile(request.modelPath);
    const outcomes = await applySteps(work, artifact, { ...checked, source, sourceSha256: sourceFiles.sha256 });
    meter.begin('verify', 'writing and loading the artifact');
    verifyModel(artifact);
    artifact.metadata.set('lathe.version', packageVersion());
    artifact.metadata.set('lathe.recipe', JSON.stringify(request.plan));
    artifact.metadata.set('lathe.parent_sha256', sourceFiles.sha256);
    const artifactPath = join(resolve(request.outDir), 'model.onnx');
    await mkdir(request.outDir, { recursive: true });
    const modelFiles = encodeModelFile(artifact, artifactPath).map((file) => file.path);
    await checkArtifact(work, artifactPath, checked);
    const artifactFiles = await describeModelFiles(artifactPath);
    const written = decodeModelFile(artifactPath);
    meter.begin('measure', 'latency, in turns');
    const measurements = await measurePair(runtime, {
      sourcePath: request.modelPath,
      artifactPath,
      source,
      artifact: written,
      samples: checked.samples,
      scratch: request.scratch,
      budgetMs: request.measureBudgetMs ?? MEASURE_BUDGET_MS,
      image: imageOptionsOf(request.plan),
      ...(request.evaluation === undefined ? { fidelityBudgetMs: FIDELITY_BUDGET_MS } : {}),
      signal,
      progress: (fraction, message) => meter.within(fraction, message),
    });
    meter.begin('report', 'writing the report');
    const accelerator = acceleratorOf(request.plan);
    const packed = await Promise.all([sourceFiles, artifactFiles].map((files) => compressedBytes(files, signal)));
    const report = buildReport({
      plan: request.plan,
      source: { files: sourceFiles, compressedBytes: packed[0] ?? null, model: source, inspection: inspectModel(source) },
      artifact: { files: artifactFiles, compressedBytes: packed[1] ?? null, model: written, inspection: inspectModel(written) },
      samples: checked.samples,
      measurements,
      traffic: accelerator ? compareTraffic(accelerator, { source, artifact: written, measurements }) : null,
      outcomes,
      environment: describeEnvironment(describeCpu(), runtime),
      seconds: meter.elapsed(),
    });
    const reportPath = join(resolve(request.outDir), 'report.json');
    await writeFile(reportPath, `${JSON.stringify(report, null, 2)}\n`);
    const htmlReportPath = join(resolve(request.outDir), 'report.html');
    await writeFile(htmlReportPath, renderHtmlReport(report));
    meter.end();
    meter.within(0, 'done');
    return { modelFiles, reportPath, htmlReportPath, report, gatePassed: report.gate.passed };
  } finally {
    await checked.samples.close();
  }
}

interface CheckedSource {
  readonly inputs: readonly InputOutputInfo[];
  readonly outputs: readonly InputOutputInfo[];
  readonly samples: EvaluationSource;
}

/** The source must load and run before anything is done to it. */
async function selfCheck({ request, runtime }: Work, source: Model): Promise<CheckedSource> {
  const session = await runtime.open(request.modelPath);
  try {
    const dataPath = request.evaluation ?? request.calibration;
    const samples = dataPath
      ? await datasetSource({ path: dataPath, scratch: request.scratch, open: () => runtime.open(request.modelPath) }, session)
      : await generatedSource(source, session);
    try {
      if (request.plan.gate?.max_metric_drop !== undefined && !samples.labelled) {
        throw new EngineError('recipe_invalid', 'The gate "max_metric_drop" needs an evaluation data set with an array "labels".');
      }
      await session.run(samples.first);
    } catch (error) {
      await samples.close();
      throw error;
    }
    return { inputs: session.inputs, outputs: session.outputs, samples };
  } finally {
    await session.close();
  }
}

async function applySteps(
  { request, runtime, signal, meter }: Work,
  model: Model,
  { inputs, outputs, samples, source, sourceSha256 }: CheckedSource & { readonly source: Model; readonly sourceSha256: string },
): Promise<MethodOutcome[]> {
  const judge = await accuracyJudge({
    runtime,
    sourcePath: request.modelPath,
    samples,
    gate: request.plan.gate,
    image: imageOptionsOf(request.plan),
    signal,
  });
  const { calibration: path, scratch } = request;
  const stateful = { outputs, open: () => runtime.open(request.modelPath) };
  const calibration = path ? await openDataset({ path, scratch }, inputs, stateful) : undefined;
  const calibrationCache = cacheFor(request, sourceSha256);
  const accelerator = acceleratorOf(request.plan);
  const context: MethodContext = {
    target: processorOf(request.plan),
    ...(accelerator ? { accelerator } : {}),
    objective: objectiveOf(request.plan),
    runtime,
    scratch: request.scratch,
    ...(calibration ? { calibration } : {}),
    ...(judge ? { judge } : {}),
    ...(calibrationCache ? { calibrationCache } : {}),
    ...(request.latencyCache ? { latencyCache: openLatencyCache(request.latencyCache, runtime) } : {}),
    sample: samples.first,
    source,
    gradients: lossGradients,
    removableGroups,
    ...(request.teacherPath === undefined ? {} : { teacher: decodeModelFile(request.teacherPath) }),
    ...(request.checkpoints === undefined ? {} : { checkpoints: request.checkpoints }),
    ...(request.checkpointEveryMs === undefined ? {} : { checkpointEveryMs: request.checkpointEveryMs }),
    isa: describeCpu().isa,
    signal,
    progress: (fraction, message) => meter.within(fraction, message),
  };
  try {
    const outcomes: MethodOutcome[] = [];
    const steps = stepsToRun(request.plan);
    for (const [at, step] of steps.entries()) {
      signal.throwIfAborted();
      meter.begin(step.method, step.method);
      outcomes.push(await applyStep(model, step, { ...context, step: at, followedBy: steps.slice(at + 1).map(({ method }) => method) }));
    }
    return outcomes;
  } finally {
    await calibration?.close();
  }
}

function cacheFor({ calibrationCache, calibration, plan }: CompressRequest, sourceSha256: string): ResultCache | undefined {
  if (calibrationCache === undefined || calibration === undefined) return undefined;
  return openCalibrationCache({ folder: calibrationCache, sourceSha256, dataPath: calibration, plan });
}

/** The file that was written must load, run and take and give exactly what the source does. */
async function checkArtifact({ runtime }: Work, path: string, { inputs, outputs, samples }: CheckedSource): Promise<void> {
  const session = await runtime.open(path);
  try {
    requireSame('inputs', inputs, session.inputs);
    requireSame('outputs', outputs, session.outputs);
    const results: ReadonlyMap<string, Tensor> = await session.run(samples.first);
    if (results.size !== outputs.length) throw new EngineError('runtime_failed', 'The artifact does not give all outputs.');
  } finally {
    await session.close();
  }
}

function requireSame(what: string, before: readonly InputOutputInfo[], after: readonly InputOutputInfo[]): void {
  const text = (each: readonly InputOutputInfo[]): string => each.map(({ name, dataType }) => `${name}: ${dataType}`).join(', ');
  if (text(before) !== text(after)) {
    throw new EngineError('runtime_failed', `The artifact's ${what} differ from the source's.`, {
      before: text(before),
      after: text(after),
    });
  }
}
