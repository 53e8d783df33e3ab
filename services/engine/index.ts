/** The engine's public surface: compress, inspect, evaluate and benchmark model files. Knows no HTTP, queue or database. */
export { type AcceleratorProfile, shippedProfiles } from './accelerators/index.js';
export { EngineError, type EngineErrorCode } from './engine-errors.js';
export type { FidelityResult } from './evaluation/fidelity.js';
export type { ImageOptions } from './evaluation/image-quality.js';
export type { Metrics } from './evaluation/metrics.js';
// To build a model in code, as `lathe sample` does.
export { attributeOf, float32Tensor, Graph, Model, Node, Value } from './ir/index.js';
export type { NodeChange, Target } from './method.js';
export { encodeModel } from './onnx/index.js';
export { type BenchmarkRequest, type BenchmarkResult, benchmark } from './pipeline/benchmark.js';
export { type CompressRequest, type CompressResult, compress } from './pipeline/compress.js';
export { type DiagnoseRequest, type DiagnoseResult, diagnose, type MeasuredModel, type RepairResult } from './pipeline/diagnose.js';
export { type EvaluateRequest, type EvaluateResult, evaluate } from './pipeline/evaluate.js';
export type { DiagnosedFinding, ModelDiagnosis } from './pipeline/examine-model.js';
export type { GateCheck, GateResult } from './pipeline/gate.js';
export { type InspectedTraffic, type InspectRequest, type InspectResult, inspect } from './pipeline/inspect.js';
export { describeModelFiles } from './pipeline/model-files.js';
export type { CompressionPlan, CompressionStep, MethodName, MetricName, QualityGate } from './pipeline/plan.js';
export type { Phase, ProgressEvent } from './pipeline/progress.js';
export { type CompressionReport, type Environment, type ModelMeasurement, reportSchemaVersion } from './pipeline/report.js';
export { renderTrafficPlot } from './pipeline/traffic-plot.js';
export { type Cpu, describeCpu } from './runtime/cpu.js';
