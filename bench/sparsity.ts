/**
 * Sparsity of trained models: accuracy with half of the weights, with 30 % and with 2:4 by each criterion, the size of the file as it
 * is and packed, latency beside the dense model. JSON lines on standard output, the tables of docs/benchmarks.md on standard error.
 *
 * npm run bench -- sparsity [--only mlp,resnet8] [--folder DIR]
 *
 * Models and samples come from LATHE_DATA (default ../shared/data); LATHE_MINILM names the transformer, whose .npz files lie beside it.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type CompressionReport, type CompressionStep, compress } from '../services/engine/index.js';
import { calibrationFile, testFile } from './quantization/sample-files.js';
import { resnet8, type Subject, subjects } from './quantization/subjects.js';
import { digits, markdownTable } from './quantization/tables.js';

const CALIBRATION_IMAGES = 1000;
const THREADS = 2;
const criteria = ['magnitude', 'wanda', 'sparsegpt'] as const;

const variants = {
  '50 %': { sparsity: 0.5 },
  '70 %': { sparsity: 0.7 },
  '2:4': { pattern: '2:4' },
} as const;
type Variant = keyof typeof variants;
type SparsityStep = Extract<CompressionStep, { method: 'sparsity' }>;

interface Model {
  readonly name: string;
  /** Variants in which biases stay, and zeros in steps, are measured, too. */
  readonly isQuick: boolean;
  readonly path: string;
  /** Unlabelled. */
  readonly calibration: string;
  /** Labelled. */
  readonly test: string;
}

interface Result {
  readonly model: string;
  readonly variant: string;
  readonly criterion: string;
  readonly biases: 'corrected' | 'left';
  readonly top1: number | undefined;
  readonly top1_fp32: number | undefined;
  readonly sqnr_db: number | null;
  /** Of all parameters of the model. */
  readonly zeros: number;
  readonly bytes: number;
  readonly gzip: number | null;
  readonly gzip_fp32: number | null;
  readonly speedup: number | null;
  readonly seconds: number | undefined;
}

async function imageModel(subject: Subject, folder: string): Promise<Model> {
  const calibration = await calibrationFile(subject, CALIBRATION_IMAGES, folder);
  return { name: subject.name, isQuick: true, path: subject.modelPath, calibration, test: await testFile(subject, folder) };
}

async function modelsIn(folder: string): Promise<Model[]> {
  const wanted = [...subjects.filter(({ name }) => name === 'mlp' || name === 'fcnn' || name === 'vit'), resnet8];
  const models = await Promise.all(wanted.filter(({ modelPath }) => existsSync(modelPath)).map((subject) => imageModel(subject, folder)));
  const path = process.env.LATHE_MINILM;
  if (path === undefined || !existsSync(path)) return models;
  const beside = (file: string): string => join(dirname(path), file);
  return [...models, { name: 'minilm', isQuick: false, path, calibration: beside('sst2_train512.npz'), test: beside('sst2_test.npz') }];
}

/** All layers but embeddings, the ends too: a share is then the share of every layer. */
async function measure(
  model: Model,
  options: Partial<SparsityStep>,
  about: { variant: string; criterion: (typeof criteria)[number]; biases: Result['biases'] },
): Promise<Result> {
  const folder = mkdtempSync(join(tmpdir(), 'lathe-sparsity-'));
  const scratch = join(folder, 'scratch');
  mkdirSync(scratch);
  try {
    const step: SparsityStep = {
      method: 'sparsity',
      protect_ends: false,
      criterion: about.criterion,
      bias_correction: about.biases === 'corrected',
      ...options,
    };
    const { report } = await compress({
      modelPath: model.path,
      plan: { steps: [step] },
      calibration: model.calibration,
      evaluation: model.test,
      outDir: join(folder, 'out'),
      scratch,
      threads: THREADS,
    });
    const result = { model: model.name, ...about, ...figures(report) };
    process.stdout.write(`${JSON.stringify({ ...result, environment: report.environment })}\n`);
    return result;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function figures({
  source,
  artifact,
  layers,
  fidelity,
  speedup,
  seconds,
}: CompressionReport): Omit<Result, 'model' | 'variant' | 'criterion' | 'biases'> {
  const zeros = layers.reduce((sum, { nonzeros_before = 0, nonzeros_after = 0 }) => sum + nonzeros_before - nonzeros_after, 0);
  return {
    top1: artifact.metrics?.top1,
    top1_fp32: source.metrics?.top1,
    sqnr_db: fidelity.sqnr_db,
    zeros: zeros / source.parameters,
    bytes: artifact.bytes,
    gzip: artifact.compressed_bytes,
    gzip_fp32: source.compressed_bytes,
    speedup,
    seconds: seconds.sparsity,
  };
}

const megabytes = (bytes: number | null | undefined): string => (bytes ? digits(bytes / 1e6) : '');

function accuracyTable(results: readonly Result[]): string {
  const keys = [...new Set(results.map(({ model, variant }) => `${model}\n${variant}`))];
  const rows = keys.map((key) => {
    const [model = '', variant = ''] = key.split('\n');
    const own = results.filter((each) => each.model === model && each.variant === variant);
    const top1 = (criterion: string, biases: string): string =>
      digits(own.find((each) => each.criterion === criterion && each.biases === biases)?.top1, 'share');
    const of = (criterion: string): string => {
      const left = top1(criterion, 'left');
      return `${top1(criterion, 'corrected')}${left ? ` (${left})` : ''}`;
    };
    return [model, variant, digits(own[0]?.zeros, 'share'), digits(own[0]?.top1_fp32, 'share'), ...criteria.map(of)];
  });
  return markdownTable(['Model', 'Zeros', 'of all', 'fp32', 'magnitude', 'Wanda', 'SparseGPT'], rows);
}

function sizeTable(results: readonly Result[]): string {
  const names = [...new Set(results.map(({ model }) => model))];
  const rows = names.map((name) => {
    const of = (variant: Variant): Result | undefined =>
      results.find(
        (each) => each.model === name && each.variant === variant && each.criterion === 'sparsegpt' && each.biases === 'corrected',
      );
    const own = Object.keys(variants).map((variant) => of(variant as Variant));
    const half = own[0];
    return [
      name,
      megabytes(half?.bytes),
      megabytes(half?.gzip_fp32),
      ...own.map((each) => megabytes(each?.gzip)),
      ...own.map((each) => digits(each?.speedup)),
      digits(half?.seconds),
    ];
  });
  const words = Object.keys(variants);
  return markdownTable(
    ['Model', 'MB', 'gzip fp32', ...words.map((word) => `gzip ${word}`), ...words.map((word) => `x speed ${word}`), 's'],
    rows,
  );
}

const { values: options } = parseArgs({ options: { only: { type: 'string' }, folder: { type: 'string' } } });
const folder = options.folder ? resolve(options.folder) : mkdtempSync(join(tmpdir(), 'lathe-sparsity-samples-'));
try {
  const only = options.only?.split(',');
  const results: Result[] = [];
  for (const model of await modelsIn(folder)) {
    if (only && !only.includes(model.name)) continue;
    for (const [variant, how] of Object.entries(variants)) {
      for (const criterion of criteria) {
        results.push(await measure(model, how, { variant, criterion, biases: 'corrected' }));
        if (model.isQuick) results.push(await measure(model, how, { variant, criterion, biases: 'left' }));
      }
    }
    const inSteps = { sparsity: 0.7, schedule: { steps: 4 } };
    if (model.isQuick)
      results.push(await measure(model, inSteps, { variant: '70 % in 4 steps', criterion: 'sparsegpt', biases: 'corrected' }));
  }
  process.stderr.write(`\n${accuracyTable(results)}\n\n${sizeTable(results)}\n`);
} finally {
  if (!options.folder) rmSync(folder, { recursive: true, force: true });
}
