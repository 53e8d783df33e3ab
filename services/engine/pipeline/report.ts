/** report.json: the evidence that goes with every artifact. Field names are a public contract; `schema_version` counts their changes. */
import type { FidelityResult } from '../evaluation/fidelity.js';
import type { Metrics } from '../evaluation/metrics.js';
import type { ModelInspection } from '../inspection/index.js';
import type { Model } from '../ir/index.js';
import type {
  CalibrationSummary,
  LayerReport,
  MapCoding,
  MethodOutcome,
  NodeChange,
  Objective,
  Target,
  TrainingSummary,
} from '../method.js';
import { describeSaturation, saturationReport } from '../quantization/saturation-report.js';
import { ALIKE_SHARE, isDisturbed, type Latency } from '../runtime/benchmark.js';
import type { FusionReport } from '../runtime/fusion-report.js';
import { isUndecided, type RatioInterval } from '../timing/ratio-interval.js';
import type { EvaluationSource } from './evaluation-source.js';
import { checkGate, type GateResult } from './gate.js';
import type { Measurements } from './measure.js';
import type { ModelFiles } from './model-files.js';
import { acceleratorOf, type CompressionPlan, objectiveOf, processorOf } from './plan.js';
import type { TrafficComparison } from './traffic.js';

export const reportSchemaVersion = 1;

/** One side of the comparison. null means "not measurable"; `warnings` says why. */
export interface ModelMeasurement {
  readonly sha256: string;
  /** Model file and external data together. */
  readonly bytes: number;
  /** The same files packed by gzip: what zeros and repetitions are worth. null for models above 256 MiB. */
  readonly compressed_bytes: number | null;
  readonly parameters: number;
  readonly nodes: number;
  /** Multiply-accumulates of one run on the inputs that the latency was measured with. */
  readonly macs: number | null;
  /** Median wall time of one run. */
  readonly latency_ms: number | null;
  readonly p90_ms: number | null;
  readonly min_ms: number | null;
  readonly metrics: Metrics | null;
}

export interface Environment {
  readonly cpu: string;
  readonly isa: string;
  readonly flags: readonly string[];
  /** uint8 x int8 products saturate on this processor (x64 without VNNI). */
  readonly u8s8_saturates: boolean;
  readonly cores: number;
  readonly threads: number;
  readonly runtime: string;
  readonly lathe: string;
  readonly node: string;
  readonly os: string;
}

export interface LatencyConditions {
  /** Where the inputs came from. */
  readonly inputs: 'dataset' | 'generated';
  /** Sizes of the inputs by name. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly source_runs: number;
  readonly artifact_runs: number;
  /** In which the speedup lies, round against round, with a confidence of 95 %. */
  readonly speedup_interval: RatioInterval;
}

export interface SaturationSummary {
  readonly exact_on: readonly Target[];
  /** Nodes whose products can saturate on x64 without VNNI. */
  readonly saturating: readonly string[];
  readonly explanation: string;
}

/** An accelerator by name: its profile is in `traffic`. */
export interface ReportedAccelerator {
  readonly accelerator: string;
}

export interface CompressionReport {
  readonly schema_version: number;
  readonly created_at: string;
  readonly recipe: CompressionPlan;
  readonly target: Target | ReportedAccelerator;
  readonly objective: Objective;
  readonly source: ModelMeasurement;
  readonly artifact: ModelMeasurement;
  /** Source bytes over artifact bytes. */
  readonly size_ratio: number;
  /** Time of the source over that of the artifact, the middle of what rounds in turns gave; below 1 the artifact is slower. */
  readonly speedup: number | null;
  readonly latency: LatencyConditions | null;
  readonly fidelity: FidelityResult;
  readonly gate: GateResult;
  readonly fusion: FusionReport | null;
  readonly nodes: readonly NodeChange[];
  /** What is known of each quantized layer. */
  readonly layers: readonly LayerReport[];
  /** On which targets every integer product of the artifact is exact, and which nodes keep it from being so everywhere. */
  readonly saturation: SaturationSummary;
  /** null when no method of the recipe calibrated. */
  readonly calibration: CalibrationSummary | null;
  /** One for each method that learned, in the order of the recipe. */
  readonly training: readonly TrainingSummary[];
  /** Bytes and energy of an inference before and after, when the target is an accelerator. */
  readonly traffic: TrafficComparison | null;
  /** How each map is coded, where a method coded maps. */
  readonly maps: readonly MapCoding[];
  readonly warnings: readonly string[];
  /** Wall seconds by phase. */
  readonly seconds: Readonly<Record<string, number>>;
  readonly environment: Environment;
}

interface ReportedModel {
  readonly files: ModelFiles;
  readonly compressedBytes: number | null;
  readonly model: Model;
  readonly inspection: ModelInspection;
}

export interface ReportParts {
  readonly plan: CompressionPlan;
  readonly source: ReportedModel;
  readonly artifact: ReportedModel;
  readonly samples: EvaluationSource;
  readonly measurements: Measurements;
  readonly traffic: TrafficComparison | null;
  readonly outcomes: readonly MethodOutcome[];
  readonly environment: Environment;
  readonly seconds: Readonly<Record<string, number>>;
}

/** Puts what was measured into the report's form, judges the gate, and says in words what a reader should not miss. */
export function buildReport(parts: ReportParts): CompressionReport {
  const { measurements, source, artifact } = parts;
  const reference = measurements.evaluation.reference;
  if (!reference) throw new TypeError('buildReport: fidelity needs a reference');
  const { speedup } = measurements;
  const sizeRatio = source.files.bytes / artifact.files.bytes;
  const gate = checkGate(parts.plan.gate, {
    sourceMetrics: reference.metrics,
    artifactMetrics: measurements.evaluation.metrics,
    speedup,
    sizeRatio,
    fidelity: reference.fidelity,
    budgets: parts.outcomes.flatMap(({ budgets }) => budgets ?? []),
    keptMacs: measurements.sourceMacs && measurements.artifactMacs ? measurements.artifactMacs / measurements.sourceMacs : null,
  });
  return {
    schema_version: reportSchemaVersion,
    created_at: new Date().toISOString(),
    recipe: parts.plan,
    target: reportedTarget(parts.plan),
    objective: objectiveOf(parts.plan),
    source: measured(source, { latency: measurements.sourceLatency, macs: measurements.sourceMacs, metrics: reference.metrics }),
    artifact: measured(artifact, {
      latency: measurements.artifactLatency,
      macs: measurements.artifactMacs,
      metrics: measurements.evaluation.metrics,
    }),
    size_ratio: sizeRatio,
    speedup,
    latency: {
      inputs: parts.samples.inputs,
      shapes: Object.fromEntries([...parts.samples.first].map(([name, tensor]) => [name, tensor.dims])),
      source_runs: measurements.sourceLatency.runs,
      artifact_runs: measurements.artifactLatency.runs,
      speedup_interval: measurements.speedupInterval,
    },
    fidelity: reference.fidelity,
    gate,
    fusion: measurements.fusion,
    nodes: parts.outcomes.flatMap(({ nodes }) => nodes),
    layers: parts.outcomes.flatMap(({ layers }) => layers ?? []),
    saturation: saturationOf(parts.artifact.model),
    training: parts.outcomes.flatMap(({ training }) => (training ? [training] : [])),
    traffic: parts.traffic,
    maps: parts.outcomes.flatMap(({ maps }) => maps ?? []),
    calibration: parts.outcomes.findLast(({ calibration }) => calibration)?.calibration ?? null,
    warnings: [
      ...parts.outcomes.flatMap(({ warnings }) => warnings ?? []),
      ...measurements.warnings,
      ...(parts.traffic?.warnings ?? []),
      ...warningsOf(parts, { speedup, sizeRatio }),
    ],
    seconds: parts.seconds,
    environment: parts.environment,
  };
}

function reportedTarget(plan: CompressionPlan): CompressionReport['target'] {
  const accelerator = acceleratorOf(plan);
  return accelerator ? { accelerator: accelerator.name } : processorOf(plan);
}

function saturationOf(model: Model): SaturationSummary {
  const report = saturationReport(model);
  const saturating = report.products.filter(({ saturates }) => saturates).map(({ node }) => node);
  return { exact_on: report.exact_on, saturating, explanation: describeSaturation(report) };
}

function measured(
  { files, compressedBytes, inspection }: ReportedModel,
  { latency, macs, metrics }: { latency: Latency; macs: number | null; metrics: Metrics | null },
): ModelMeasurement {
  return {
    sha256: files.sha256,
    bytes: files.bytes,
    compressed_bytes: compressedBytes,
    parameters: inspection.parameters,
    nodes: inspection.nodes,
    macs,
    latency_ms: latency.median_ms,
    p90_ms: latency.p90_ms,
    min_ms: latency.min_ms,
    metrics,
  };
}

/** Below it, networks for detection and regression were seen to fail; classifiers may still agree. */
const LOW_SQNR_DB = 15;

function warningsOf(
  { source, artifact, measurements, samples, environment, plan }: ReportParts,
  { speedup, sizeRatio }: { speedup: number; sizeRatio: number },
): string[] {
  const warnings: string[] = [];
  const fidelity = measurements.evaluation.reference?.fidelity;
  const interval = measurements.speedupInterval;
  if (interval.high < 1)
    warnings.push(`speed: the artifact is slower than the source on this processor (${speedup.toFixed(2)} times as fast).`);
  if (isUndecided(interval, ALIKE_SHARE))
    warnings.push(
      `speed: the measurement does not tell whether the artifact is faster: ${interval.low.toFixed(2)} to ${interval.high.toFixed(2)} times (95 %). Measure again on a quiet machine.`,
    );
  if (isDisturbed(measurements.sourceLatency) || isDisturbed(measurements.artifactLatency)) {
    warnings.push('latency: the machine was busy while it was measured; the times and the speedup are not reliable.');
  }
  if (sizeRatio < 0.995) warnings.push(`size: the artifact is larger than the source (${(1 / sizeRatio).toFixed(2)} times).`);
  if (source.compressedBytes === null || artifact.compressedBytes === null)
    warnings.push('size: compressed_bytes is not measured for models above 256 MiB.');
  if (samples.inputs === 'generated')
    warnings.push('fidelity: measured on generated inputs; give a data set for numbers that stand for your data.');
  if (!samples.labelled) warnings.push('metrics: null, because no labels were given.');
  if (fidelity && fidelity.sqnr_db !== null && fidelity.sqnr_db < LOW_SQNR_DB) {
    warnings.push(
      `fidelity: the outputs keep a signal to noise ratio of ${fidelity.sqnr_db.toFixed(1)} dB only; judge by your metric, or bound the loss (gate.max_metric_drop with labels, min_sqnr_db in a step).`,
    );
  }
  if (fidelity && fidelity.sqnr_db === null)
    warnings.push('fidelity: sqnr_db, cosine and max_abs_error are null, because no output holds finite floats.');
  if (fidelity && fidelity.top1_agreement === null)
    warnings.push('fidelity: top1_agreement is null, because no output holds class scores or classes.');
  if (fidelity && fidelity.non_finite > 0) warnings.push(`fidelity: ${fidelity.non_finite} output elements are finite in one model only.`);
  const alike = fidelity?.outputs.reduce((sum, output) => sum + output.non_finite_alike, 0) ?? 0;
  if (alike > 0) warnings.push(`fidelity: ${alike} output elements are not finite in the source itself; they are left out.`);
  const unfused = measurements.fusion?.unfused.length ?? 0;
  if (unfused > 0) warnings.push(`fusion: ${unfused} operators compute in float on weights that are dequantized at every run.`);
  const quantized = plan.steps.some((step) => step.method === 'dynamic-int8');
  if (quantized && plan.target === 'x64-vnni' && environment.u8s8_saturates) {
    warnings.push(
      'int8: the target x64-vnni uses the full int8 range, which can saturate on this processor; the numbers here may be worse than on the target.',
    );
  }
  return warnings;
}
