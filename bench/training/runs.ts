/** Recipes that learn, run in this process, with what the sections want to know of them. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type CompressionPlan, type CompressionReport, compress } from '../../services/engine/index.js';
import { float32Array, int64Array, writeNpz } from '../../test/support/write-npz.js';
import { dataFolder, resnet8, type Samples, type Subject } from '../quantization/subjects.js';
import { THREADS, type Workbench } from '../quantization/workbench.js';

export interface LearningTask {
  /** Of the folder of the artifact. */
  readonly name: string;
  readonly modelPath: string;
  readonly plan: CompressionPlan;
  readonly data: string;
  readonly evaluation: string;
  readonly teacherPath?: string;
}

export interface LearningRun {
  readonly path: string;
  readonly report: CompressionReport;
  readonly top1: number;
  readonly seconds: number;
  readonly cpuSeconds: number;
}

export async function learn(bench: Workbench, { name, data, ...task }: LearningTask): Promise<LearningRun> {
  const outDir = join(bench.folder, 'artifacts', name);
  const scratch = join(bench.folder, 'scratch', name);
  mkdirSync(scratch, { recursive: true });
  const started = performance.now();
  const before = process.cpuUsage();
  const { report, modelFiles } = await compress({ ...task, calibration: data, outDir, scratch, threads: THREADS });
  const used = process.cpuUsage(before);
  return {
    path: modelFiles[0] ?? join(outDir, 'model.onnx'),
    report,
    top1: report.artifact.metrics?.top1 ?? Number.NaN,
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: (used.user + used.system) / 1e6,
  };
}

export const fashion = {
  teacher: join(dataFolder, 'fashion-mnist/models/resnet8.onnx'),
  student: join(dataFolder, 'fashion-mnist/models/resnet8_student_labels.onnx'),
} as const;

export interface FashionFiles {
  readonly labelled: string;
  readonly unlabelled: string;
  /** The first 1,000, unlabelled. */
  readonly few: string;
  readonly test: string;
}

/** The 20,000 training images and the test images of Fashion-MNIST, each file made once. */
export async function fashionFiles(bench: Workbench): Promise<FashionFiles> {
  const folder = join(bench.folder, 'samples');
  mkdirSync(folder, { recursive: true });
  const path = (name: string): string => join(folder, `fashion.${name}.npz`);
  const files = { labelled: path('train'), unlabelled: path('train-unlabelled'), few: path('train-1000'), test: path('test') };
  const train = resnet8.calibration(20_000);
  const test = resnet8.test();
  const array = ({ count, dims, values }: { count: number; dims: readonly number[]; values: Float32Array }, limit = count) =>
    float32Array([limit, ...dims], values.subarray(0, (values.length / count) * limit));
  const labels = (given: ArrayLike<number> | undefined) => int64Array([given?.length ?? 0], Array.from(given ?? []));
  if (!existsSync(files.labelled)) await writeNpz(files.labelled, { input: array(train), labels: labels(train.labels) });
  if (!existsSync(files.unlabelled)) await writeNpz(files.unlabelled, { input: array(train) });
  if (!existsSync(files.few)) await writeNpz(files.few, { input: array(train, 1000) });
  if (!existsSync(files.test)) await writeNpz(files.test, { input: array(test), labels: labels(test.labels) });
  return files;
}

/** All training images of a subject without labels (20,000 at most), and its labelled test images. */
export async function subjectFiles(bench: Workbench, subject: Subject): Promise<{ readonly unlabelled: string; readonly test: string }> {
  const folder = join(bench.folder, 'samples');
  mkdirSync(folder, { recursive: true });
  const files = { unlabelled: join(folder, `${subject.name}.all.npz`), test: join(folder, `${subject.name}.test.npz`) };
  const array = ({ count, dims, values }: Samples) => float32Array([count, ...dims], values);
  const present = subject.name === 'resnet2b' ? 2_000 : 20_000;
  if (!existsSync(files.unlabelled)) await writeNpz(files.unlabelled, { [subject.input]: array(subject.calibration(present)) });
  const test = subject.test();
  if (!existsSync(files.test))
    await writeNpz(files.test, { [subject.input]: array(test), labels: int64Array([test.count], Array.from(test.labels ?? [])) });
  return files;
}

/** What resnet8 itself was trained with (its PROVENANCE.md): flips and crops, batch 64, SGD with Nesterov momentum, one cycle. */
export const recipeOfProvenance = {
  batch_size: 64,
  augmentation: [{ name: 'flip' }, { name: 'crop', padding: 2 }],
  optimizer: { name: 'sgd', momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
  learning_rate: 0.1,
  schedule: { name: 'one-cycle' },
  initialize: 'fresh',
  batch_normalization: 'insert',
} as const;

export const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
