/** Turns what onnxruntime throws into the engine's errors: a stable code and a sentence without paths of this machine. */
import { dirname } from 'node:path';
import { EngineError, type EngineErrorCode } from '../engine-errors.js';

/** First match wins; the patterns are the runtime's own wording (1.30). */
const loadFailures: readonly (readonly [RegExp, EngineErrorCode])[] = [
  [/under development and support for this is limited|Unsupported model IR version|official released onnx opset/i, 'opset_unsupported'],
  [/external (data|initializer)|data file|file_length|GetExtDataFromTensorProto|External data path/i, 'external_data_invalid'],
  [
    /NOT_IMPLEMENTED|Could not find an implementation|not a registered function|Unsupported data type|No Op registered/i,
    'model_unsupported',
  ],
  [
    /INVALID_PROTOBUF|protobuf parsing failed|INVALID_GRAPH|invalid model|Type Error|ShapeInferenceError|TypeInferenceError|Node \(.*\) Op \(/i,
    'model_invalid',
  ],
];

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The runtime's first sentences, without source positions and file names of this machine. */
function readable(message: string, path?: string): string {
  const bare = path ? message.replaceAll(path, 'the model file').replaceAll(dirname(path), '.') : message;
  return bare
    .replace(/\/onnxruntime_src\/\S+/g, '')
    .replace(/^\[ONNXRuntimeError\] : \d+ : /, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, 600);
}

export function loadFailure(error: unknown, path: string): EngineError {
  const message = messageOf(error);
  const code = loadFailures.find(([pattern]) => pattern.test(message))?.[1] ?? 'runtime_failed';
  return new EngineError(code, `The runtime does not load the model: ${readable(message, path)}`, {}, { cause: error });
}

export function runFailure(error: unknown): EngineError {
  if (error instanceof EngineError) return error;
  return new EngineError(
    'runtime_failed',
    `The runtime failed while running the model: ${readable(messageOf(error))}`,
    {},
    { cause: error },
  );
}
