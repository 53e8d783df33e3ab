/** The part of the engine that needs no runtime: what the API uses to check and describe uploads. */

export { EngineError, type EngineErrorCode } from '../engine-errors.js';
export { externalDataLocations } from '../onnx/index.js';
export { countMacs, type MacCount, type NodeMacs, type UncountedNode } from '../ops/index.js';
export { inspectModel, type ModelInspection, type ValueDescription, type WeightSummary } from './inspect-model.js';
export { inspectModelFile } from './inspect-model-file.js';
export { type QuantizationFormat, type QuantizationState, quantizationState } from './quantization-state.js';
