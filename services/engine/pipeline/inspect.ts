/** Everything that can be told of a model file: its structure, and with the runtime its multiply-accumulates. */

import { EngineError } from '../engine-errors.js';
import { countMacs, inspectModel, type ModelInspection } from '../inspection/index.js';
import { decodeModelFile } from '../onnx/index.js';
import { describeCpu } from '../runtime/cpu.js';
import { observeShapes } from '../runtime/observe-shapes.js';
import { createOrtRuntime } from '../runtime/ort-session.js';
import { describeEnvironment } from './environment.js';
import { generatedSource } from './evaluation-source.js';
import { describeModelFiles } from './model-files.js';
import type { Environment } from './report.js';

export interface InspectRequest {
  readonly modelPath: string;
  /** Existing private folder for temporary files. */
  readonly scratch: string;
}

export interface InspectResult {
  readonly bytes: number;
  readonly sha256: string;
  readonly structure: ModelInspection;
  /** null when the model does not run on inputs made from its declarations; `warnings` says why. */
  readonly macs: ReturnType<typeof countMacs> | null;
  /** Sizes of the inputs that `macs` holds for. */
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  readonly warnings: readonly string[];
  readonly environment: Environment;
}

/** Throws EngineError when the file is not readable ONNX. */
export async function inspect({ modelPath, scratch }: InspectRequest): Promise<InspectResult> {
  const model = decodeModelFile(modelPath);
  const files = await describeModelFiles(modelPath);
  const runtime = createOrtRuntime({ scratch });
  const common = {
    bytes: files.bytes,
    sha256: files.sha256,
    structure: inspectModel(model),
    environment: describeEnvironment(describeCpu(), runtime),
  };
  try {
    const session = await runtime.open(modelPath);
    const source = await generatedSource(model, session).finally(() => session.close());
    const { shapes } = await observeShapes(runtime, { model, feeds: source.first, scratch });
    const sizes = Object.fromEntries([...source.first].map(([name, tensor]) => [name, tensor.dims]));
    return { ...common, macs: countMacs(model, shapes), shapes: sizes, warnings: [] };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    return { ...common, macs: null, shapes: {}, warnings: [`macs: ${error.message}`] };
  }
}
