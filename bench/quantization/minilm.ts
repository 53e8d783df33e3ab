/** Must show 4: the transformer of ../shared/reference/export_minilm.py (LATHE_MINILM names it; its .npz files lie beside it). */
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { benchmark, evaluate } from '../../services/engine/index.js';
import { compressAlone, type OurRun } from './our-tool.js';
import { sentencesInOwnLength } from './sentences.js';
import { minilmBounds } from './thresholds.js';
import { attempt, THREADS, type Workbench } from './workbench.js';

const variants: Readonly<Record<string, object>> = {
  // Chosen on the validation sentences (docs/benchmarks.md): the most faithful within .73 of the time.
  static: { steps: [{ method: 'static-int8', rounding: 'gptq', min_sqnr_db: 32 }] },
  // The most faithful on the validation sentences within the size that is asked.
  'weight-only': {
    objective: 'size',
    steps: [{ method: 'weight-only', bits: 4, embedding_bits: 4, algorithm: 'coordinate-descent', block_size: 16 }],
  },
  dynamic: { steps: [{ method: 'dynamic-int8' }] },
};

interface Candidate {
  readonly artifact: string;
  readonly path: string;
  readonly run?: OurRun;
}

export async function minilmSection(bench: Workbench): Promise<void> {
  const modelPath = process.env.LATHE_MINILM;
  if (!modelPath || !existsSync(modelPath)) {
    bench.tell({ section: 'minilm', skipped: 'LATHE_MINILM names no file' });
    return;
  }
  const evaluation = join(dirname(modelPath), 'sst2_test.npz');
  const candidates: Candidate[] = [{ artifact: 'fp32', path: modelPath }, ...(await compressVariants(bench, modelPath)), ...references()];
  const { models } = await benchmark({
    modelPaths: candidates.map(({ path }) => path),
    dataPath: evaluation,
    scratch: join(bench.folder, 'scratch'),
    threads: THREADS,
    budgetMs: 3000 * candidates.length,
  });
  const medians = new Map(candidates.map(({ artifact }, index) => [artifact, models[index]?.median_ms ?? Number.NaN]));
  for (const candidate of candidates) await judgeCandidate(bench, candidate, { medians, evaluation });
  judgeDynamic(bench, medians);
}

async function compressVariants(bench: Workbench, modelPath: string): Promise<Candidate[]> {
  const made: Candidate[] = [];
  for (const [artifact, recipe] of Object.entries(variants)) {
    const padded = join(dirname(modelPath), 'sst2_train512.npz');
    const calibration =
      artifact === 'weight-only'
        ? await sentencesInOwnLength(padded, join(bench.folder, 'samples', 'sst2_train512-own-length.npz'))
        : padded;
    const outDir = join(bench.folder, 'artifacts', `minilm-${artifact}`);
    const run = await attempt(bench, { section: 'minilm', artifact }, () => compressAlone({ modelPath, recipe, calibration, outDir }));
    if (run) made.push({ artifact, path: run.path, run });
  }
  return made;
}

/** LATHE_REFERENCES: artifacts of the reference tool, separated by commas; a name with 'dynamic' is the rival of our dynamic one. */
function references(): Candidate[] {
  const paths = (process.env.LATHE_REFERENCES ?? '').split(',').filter((path) => path !== '');
  return paths.map((path) => ({ artifact: `reference ${path.split('/').at(-1)}`, path }));
}

interface Judging {
  readonly medians: ReadonlyMap<string, number>;
  readonly evaluation: string;
}

async function judgeCandidate(bench: Workbench, { artifact, path, run }: Candidate, { medians, evaluation }: Judging): Promise<void> {
  const scratch = join(bench.folder, 'scratch');
  const { metrics } = await evaluate({ modelPath: path, dataPath: evaluation, scratch, threads: THREADS });
  const median_ms = medians.get(artifact) ?? Number.NaN;
  const latency_ratio = median_ms / (medians.get('fp32') ?? Number.NaN);
  const megabytes = statSync(path).size / 1e6;
  const cost = run ? { wall_s: run.wall_s, cpu_s: run.cpu_s, peak_mb: run.peak_mb } : {};
  bench.tell({ section: 'minilm', artifact, top1: metrics?.top1, megabytes, median_ms, latency_ratio, ...cost });
  const bounds = run ? minilmBounds[artifact] : undefined;
  const subject = `minilm ${artifact}`;
  if (bounds?.top1) bench.judge(subject, 'top-1', { measured: metrics?.top1 ?? null, bound: bounds.top1 });
  if (bounds?.latency_ratio) bench.judge(subject, 'latency / fp32 latency', { measured: latency_ratio, bound: bounds.latency_ratio });
  if (bounds?.megabytes) bench.judge(subject, 'size, MB', { measured: megabytes, bound: bounds.megabytes });
}

function judgeDynamic(bench: Workbench, medians: ReadonlyMap<string, number>): void {
  const rivals = [...medians].filter(([artifact]) => artifact.startsWith('reference') && artifact.includes('dynamic'));
  const ours = medians.get('dynamic');
  if (rivals.length === 0 || ours === undefined) return;
  const fastest = Math.min(...rivals.map(([, median]) => median));
  // Two files that run the same kernels differ by noise.
  bench.judge('minilm dynamic', 'latency / reference latency', { measured: ours / fastest, bound: { limit: 1.03, kind: 'most' } });
}
