/** Inspection of an uploaded file: decodes its structure, leaves its weights on disk. */
import { decodeModelFile, externalDataLocations } from '../onnx/index.js';
import { inspectModel, type ModelInspection } from './inspect-model.js';

/**
 * Checks and describes a model file; external data must lie beside it.
 * Throws EngineError model_invalid, model_unsupported, opset_unsupported or external_data_invalid.
 */
export function inspectModelFile(path: string): ModelInspection {
  return inspectModel(decodeModelFile(path), externalDataLocations(path));
}
