/**
 * Low rank at equal accuracy: the fewest multiply-accumulates with which samples that no factor was made from lose at most half a point,
 * one standard error included, told on the test split with the measured speed-up. JSON lines on standard output, the table of docs/benchmarks.md on standard error.
 *
 * npm run bench -- low-rank [--only mlp,vit] [--folder DIR]
 *
 * Models and samples come from LATHE_DATA (default ../shared/data); LATHE_MINILM names the transformer, whose .npz files lie beside it.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { benchmark, type CompressionReport, compress, EngineError, evaluate } from '../services/engine/index.js';
import { type LowRankModel, modelsIn } from './low-rank/models.js';
import { digits, markdownTable } from './quantization/tables.js';

const THREADS = 2;
const DROP_MAX = 0.005;
const BUDGETS = [0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15] as const;
const BENCHMARK_MS = 6000;

interface Trial {
  readonly multiple: number;
  readonly budget: number;
  readonly report: CompressionReport;
  readonly path: string;
}

interface Result {
  readonly model: string;
  readonly budget: number | null;
  readonly multiple: number | null;
  readonly macs: number;
  readonly held_out_drop: number;
  readonly top1_fp32: number | undefined;
  readonly top1: number | undefined;
  readonly size_ratio: number;
  readonly speedup: number;
  readonly factorised: readonly string[];
  /** Layers whose factors measured as not faster, with the reason that the report gives. */
  readonly rejected: readonly string[];
  readonly seconds: number | undefined;
}

const lossOf = ({ source, artifact }: CompressionReport): number => (source.metrics?.top1 ?? 0) - (artifact.metrics?.top1 ?? 0);
/**
 * The loss and its standard error, sqrt(changed answers) / n at most: McNemar's b + c, answers right in one model alone, are among those that
 * changed. The mildest of many trials would else be the luckiest.
 */
function likelyLoss(report: CompressionReport): number {
  const { top1_agreement, samples } = report.fidelity;
  return lossOf(report) + Math.sqrt((1 - (top1_agreement ?? 0)) / samples);
}
const macsOf = ({ source, artifact }: CompressionReport): number => (artifact.macs ?? Number.NaN) / (source.macs ?? Number.NaN);

/** From mild to strong, as long as the held-out samples allow it. */
async function strongest(model: LowRankModel, folder: string): Promise<Trial | undefined> {
  let best: Trial | undefined;
  for (const multiple of model.multiples) {
    for (const budget of BUDGETS) {
      const trial = await attempt(model, { multiple, budget }, join(folder, 'trial'));
      if (!trial) break;
      const { report } = trial;
      const about = {
        model: model.name,
        multiple,
        budget,
        macs: macsOf(report),
        held_out_drop: lossOf(report),
        likely_drop: likelyLoss(report),
      };
      process.stdout.write(`${JSON.stringify({ trial: about, speedup: report.speedup, seconds: report.seconds['low-rank'] })}\n`);
      if (likelyLoss(report) > DROP_MAX) break;
      if (best && macsOf(report) >= macsOf(best.report)) continue;
      const path = join(folder, `${model.name}.onnx`);
      cpSync(trial.path, path);
      best = { ...trial, path };
    }
  }
  return best;
}

/** Undefined when no ranks keep the budget. */
async function attempt(model: LowRankModel, options: { multiple: number; budget: number }, folder: string): Promise<Trial | undefined> {
  rmSync(folder, { recursive: true, force: true });
  const scratch = join(folder, 'scratch');
  mkdirSync(scratch, { recursive: true });
  try {
    const { report, modelFiles } = await compress({
      modelPath: model.path,
      plan: { steps: [{ method: 'low-rank', budget: { macs: options.budget }, multiple_of: options.multiple }] },
      calibration: model.calibration,
      evaluation: model.heldOut,
      outDir: join(folder, 'out'),
      scratch,
      threads: THREADS,
    });
    return { ...options, report, path: modelFiles[0] ?? '' };
  } catch (error) {
    if (error instanceof EngineError && error.code === 'recipe_invalid') return undefined;
    throw error;
  }
}

async function measure(model: LowRankModel, folder: string): Promise<Result> {
  const best = await strongest(model, folder);
  const path = best?.path ?? model.path;
  const scratch = join(folder, 'scratch');
  mkdirSync(scratch, { recursive: true });
  const top1 = async (modelPath: string): Promise<number | undefined> =>
    (await evaluate({ modelPath, dataPath: model.test, scratch, threads: THREADS })).metrics?.top1;
  const { models } = await benchmark({
    modelPaths: [model.path, path],
    dataPath: model.test,
    scratch,
    threads: THREADS,
    budgetMs: BENCHMARK_MS,
  });
  const nodes = best?.report.nodes.filter(({ by }) => by === 'low-rank') ?? [];
  const result: Result = {
    model: model.name,
    budget: best?.budget ?? null,
    multiple: best?.multiple ?? null,
    macs: best ? macsOf(best.report) : 1,
    held_out_drop: best ? lossOf(best.report) : 0,
    top1_fp32: await top1(model.path),
    top1: await top1(path),
    size_ratio: best?.report.size_ratio ?? 1,
    speedup: (models[0]?.median_ms ?? Number.NaN) / (models[1]?.median_ms ?? Number.NaN),
    factorised: best?.report.layers.map(({ node, form }) => `${node}: ${form}`) ?? [],
    rejected: nodes.filter(({ reason }) => reason.includes('not be faster')).map(({ node, reason }) => `${node}: ${reason}`),
    seconds: best?.report.seconds['low-rank'],
  };
  process.stdout.write(`${JSON.stringify({ ...result, environment: best?.report.environment })}\n`);
  return result;
}

function table(results: readonly Result[]): string {
  const rows = results.map((each) => [
    each.model,
    digits(each.macs, 'share'),
    digits(100 * each.held_out_drop),
    `${digits(each.top1_fp32, 'share')} -> ${digits(each.top1, 'share')}`,
    `x ${digits(each.size_ratio)}`,
    `x ${digits(each.speedup)}`,
    String(each.factorised.length),
    String(each.rejected.length),
    digits(each.seconds),
  ]);
  return markdownTable(['Model', 'MACs', 'Held-out loss', 'Top-1, test', 'Size', 'Speed', 'Layers', 'Rejected', 's'], rows);
}

const { values: options } = parseArgs({ options: { only: { type: 'string' }, folder: { type: 'string' } } });
const folder = options.folder ? resolve(options.folder) : mkdtempSync(join(tmpdir(), 'lathe-low-rank-'));
try {
  const only = options.only?.split(',');
  const results: Result[] = [];
  for (const model of await modelsIn(folder)) if (!only || only.includes(model.name)) results.push(await measure(model, folder));
  process.stderr.write(`\n${table(results)}\n`);
} finally {
  if (!options.folder) rmSync(folder, { recursive: true, force: true });
}
