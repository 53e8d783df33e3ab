/** Everything that can be told of a model file: its structure, and with the runtime its multiply-accumulates. */

import type { AcceleratorProfile, Traffic } from '../accelerators/index.js';
import { EngineError } from '../engine-errors.js';
import { inspectModel, type ModelInspection } from '../inspection/index.js';
import type { Model, Tensor } from '../ir/index.js';
import { decodeModelFile } from '../onnx/index.js';
import { countMacs } from '../ops/index.js';
import { describeCpu } from '../runtime/cpu.js';
import { declaredInputs } from '../runtime/graph-interface.js';
import { inferStaticShapes, observeShapes } from '../runtime/observe-shapes.js';
import { createOrtRuntime, type OrtRuntime } from '../runtime/ort-session.js';
import { proposeSampleInputs } from '../runtime/sample-inputs.js';
import { describeEnvironment } from './environment.js';
import { datasetSource, generatedSource } from './evaluation-source.js';
import { describeModelFiles } from './model-files.js';
import type { Environment } from './report.js';
import { trafficOf } from './traffic.js';

export interface InspectRequest {
  readonly modelPath: string;
  /** .npz or .npy whose first sample sets the sizes; default: sizes that the model is found to run with. */
  readonly dataPath?: string;
  /** Also count what an inference moves and costs on it. */
  readonly accelerator?: AcceleratorProfile;
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
  /** null without an accelerator, and where `macs` is null. */
  readonly traffic: InspectedTraffic | null;
  readonly warnings: readonly string[];
  readonly environment: Environment;
}

export interface InspectedTraffic extends Traffic {
  readonly accelerator: AcceleratorProfile;
}

/** Above this a model is only described: loading it to see its shapes would take more memory than the file. */
const WEIGHT_BYTES_TO_RUN_MAX = 256 * 2 ** 20;

/** Throws EngineError when the file is not readable ONNX. */
export async function inspect({ modelPath, dataPath, accelerator, scratch }: InspectRequest): Promise<InspectResult> {
  const model = decodeModelFile(modelPath);
  const files = await describeModelFiles(modelPath);
  const runtime = createOrtRuntime({ scratch });
  const structure = inspectModel(model);
  const common = { bytes: files.bytes, sha256: files.sha256, structure, environment: describeEnvironment(describeCpu(), runtime) };
  try {
    const runs = structure.weight_bytes <= WEIGHT_BYTES_TO_RUN_MAX;
    const { feeds, shapes } = runs ? await observed(runtime, model, { modelPath, dataPath, scratch }) : await inferred(runtime, model);
    const macs = countMacs(model, shapes);
    const counted = accelerator ? trafficOf(accelerator, model, shapes) : null;
    const sizes = Object.fromEntries([...feeds].map(([name, tensor]) => [name, tensor.dims]));
    const warnings =
      macs.unknown.length > 0 ? [`macs: ${macs.unknown.length} nodes are not counted, because their shapes are not known.`] : [];
    return {
      ...common,
      macs,
      shapes: sizes,
      traffic: accelerator && counted ? { accelerator, ...counted.traffic } : null,
      warnings: [...warnings, ...(counted?.warnings ?? [])],
    };
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    return { ...common, macs: null, shapes: {}, traffic: null, warnings: [`macs: ${error.message}`] };
  }
}

interface ShapesForFeeds {
  readonly feeds: ReadonlyMap<string, Tensor>;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
}

async function observed(
  runtime: OrtRuntime,
  model: Model,
  { modelPath, dataPath, scratch }: Pick<InspectRequest, 'modelPath' | 'scratch'> & { readonly dataPath: string | undefined },
): Promise<ShapesForFeeds> {
  const session = await runtime.open(modelPath);
  const open = () => runtime.open(modelPath);
  const source = await (dataPath === undefined
    ? generatedSource(model, session)
    : datasetSource({ path: dataPath, scratch, open }, session)
  ).finally(() => session.close());
  const feeds = source.first;
  await source.close();
  return { feeds, shapes: (await observeShapes(runtime, { model, feeds })).shapes };
}

async function inferred(runtime: OrtRuntime, model: Model): Promise<ShapesForFeeds> {
  const feeds = proposeSampleInputs(model, declaredInputs(model)).make(0);
  const found = await inferStaticShapes(runtime, { model, feeds });
  if (!found) throw new EngineError('model_unsupported', 'the runtime infers no shapes for this model without its weights.');
  return { feeds, shapes: found.shapes };
}
