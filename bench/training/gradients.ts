/** Must show 1: the backward graph of each model of the data folder against torch autograd, by every parameter. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DataType, Tensor } from '../../services/engine/ir/index.js';
import { dataFolder, dataModels, type ModelGradients, modelGradients } from '../../test/support/model-gradients.js';
import { type ArraySpec, float32Array, writeNpz } from '../../test/support/write-npz.js';
import { chosen } from '../quantization/chosen.js';
import { runMeasured } from '../quantization/measured-process.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { gradientError, SMALLEST_SHARE } from './thresholds.js';

interface GradientsOptions {
  /** Interpreter of an environment with torch; without it our gradients are computed and compared with nothing. */
  readonly python: string | undefined;
  /** Comma-separated paths below the data folder. */
  readonly only: string | undefined;
}

/** What bench/reference/torch_gradients.py says of one parameter. */
interface ParameterReport {
  readonly name: string;
  readonly found: boolean;
  /** Of the gradient in float64, and its product with cos(0), cos(1), ... */
  readonly norm: number;
  readonly wave: number;
  readonly largest: number;
  /** Of ours from torch in float64 and in float32, and of torch in float32 from float64. */
  readonly difference: number;
  readonly single_difference: number;
  readonly torch_difference: number;
}

interface ScriptReport {
  readonly loss?: number;
  readonly parameters?: readonly ParameterReport[];
  readonly failed?: string;
}

/** The numbers of every model also go to gradients.json of the folder: test/integration/engine checks against a copy of it. */
export async function gradientsSection(bench: Workbench, { python, only }: GradientsOptions): Promise<void> {
  const recorded: Record<string, Readonly<Record<string, readonly [norm: number, wave: number]>>> = {};
  for (const path of chosen('model', only, new Map(dataModels().map((each) => [each, each])))) {
    const report = await attempt(bench, { section: 'gradients', subject: path }, () => compared(bench, path, python));
    if (!python) continue;
    const { parameters = [] } = report ?? {};
    const measured = report ? Math.min(relative(parameters, 'difference'), relative(parameters, 'single_difference')) : null;
    bench.judge(path, 'largest difference to torch autograd', { measured, bound: gradientError });
    recorded[path] = Object.fromEntries(parameters.map(({ name, norm, wave }) => [name, [digits(norm), digits(wave)] as const]));
  }
  if (python) writeFileSync(join(bench.folder, 'gradients.json'), `${JSON.stringify(recorded)}\n`);
}

const digits = (value: number): number => Number(value.toPrecision(7));

async function compared(bench: Workbench, path: string, python: string | undefined): Promise<ScriptReport> {
  const start = performance.now();
  const ours = await modelGradients(path, bench.runtime, join(bench.folder, 'scratch'));
  const seconds = Math.round(performance.now() - start) / 1000;
  try {
    const line = { section: 'gradients', subject: path, parameters: ours.trainable.parameters.length, missing: missing(ours), seconds };
    if (!python) {
      bench.tell({ ...line, loss: ours.loss });
      return {};
    }
    const report = await askTorch(python, await writeRequest(bench, path, ours));
    const parameters = report.parameters ?? [];
    bench.tell({
      ...line,
      ...{ loss: ours.loss, torch_loss: report.loss },
      difference: relative(parameters, 'difference'),
      single_difference: relative(parameters, 'single_difference'),
      torch_difference: relative(parameters, 'torch_difference'),
      /** Parameters that torch reaches and the graph of ours does not, or the other way round. */
      disagreed: parameters.filter(({ name, found }) => found !== ours.gradients.has(name)).map(({ name }) => name),
    });
    return report;
  } finally {
    await ours.close();
  }
}

const missing = ({ trainable, gradients }: ModelGradients): readonly string[] =>
  trainable.parameters.filter(({ name }) => !gradients.has(name)).map(({ name }) => name);

function relative(parameters: readonly ParameterReport[], figure: 'difference' | 'single_difference' | 'torch_difference'): number {
  const floor = SMALLEST_SHARE * Math.max(...parameters.map(({ largest }) => largest));
  return Math.max(...parameters.map((each) => each[figure] / Math.max(each.largest, floor)));
}

const descriptions: Readonly<Partial<Record<DataType, string>>> = { float32: '<f4', int64: '<i8', int32: '<i4' };

function arrayOf({ dataType, dims, data }: Tensor): ArraySpec {
  const descr = descriptions[dataType];
  if (!descr) throw new TypeError(`no model of the data folder takes ${dataType}`);
  return { descr, shape: dims, bytes: data.read() };
}

/** Names stand in request.json, as those of ONNX are none of files. */
async function writeRequest(bench: Workbench, path: string, { feeds, projections, trainable, gradients }: ModelGradients): Promise<string> {
  const folder = join(bench.folder, 'gradients', path.replaceAll('/', '_'));
  mkdirSync(folder, { recursive: true });
  const { parameters } = trainable;
  const arrays = [
    ...[...feeds.values()].map((tensor, at) => [`feeds_${at}`, arrayOf(tensor)] as const),
    ...[...projections.values()].map((tensor, at) => [`projections_${at}`, arrayOf(tensor)] as const),
    ...parameters.map(
      ({ name, dims, values }, at) =>
        [`gradients_${at}`, float32Array(dims, gradients.get(name) ?? new Float32Array(values.length))] as const,
    ),
  ];
  await writeNpz(join(folder, 'arrays.npz'), Object.fromEntries(arrays));
  const request = {
    ...{ model: join(dataFolder, path), batch_statistics: true },
    ...{ feeds: [...feeds.keys()], projections: [...projections.keys()], gradients: parameters.map(({ name }) => name) },
  };
  writeFileSync(join(folder, 'request.json'), JSON.stringify(request));
  return folder;
}

async function askTorch(python: string, folder: string): Promise<ScriptReport> {
  const { code, stdout, stderr } = await runMeasured(python, [join(import.meta.dirname, '../reference/torch_gradients.py'), folder], {});
  if (code !== 0) throw new Error(`torch_gradients.py ended with ${code}: ${stderr.slice(-800)}`);
  const report = JSON.parse(stdout) as ScriptReport;
  if (report.failed !== undefined) throw new Error(`torch: ${report.failed}`);
  return report;
}
