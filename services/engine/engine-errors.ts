/** Errors the engine throws on purpose. `code` is stable; `message` is fit for the person who sent the model. */

export type EngineErrorCode =
  /** The bytes are not a valid ONNX model. */
  | 'model_invalid'
  /** The model is valid ONNX, but something in it cannot be handled; the message says what to do instead. */
  | 'model_unsupported'
  /** The operator set is newer than the runtime. */
  | 'opset_unsupported'
  /** A file that the model's weights live in is missing, too short or outside the model's folder. */
  | 'external_data_invalid'
  /** The data set does not fit the model. */
  | 'dataset_invalid'
  /** The recipe cannot be applied to this model. */
  | 'recipe_invalid'
  /** The runtime refused to load or run a model. */
  | 'runtime_failed'
  /** The artifact missed the gate of the recipe. */
  | 'quality_gate_failed'
  /** The caller asked to stop. */
  | 'canceled';

export class EngineError extends Error {
  override readonly name = 'EngineError';

  constructor(
    readonly code: EngineErrorCode,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
