/** Must show 5: structured pruning and static int8 in one recipe, beside each alone and the product of their speed-ups. */
import { join } from 'node:path';
import { benchmark, type CompressionStep } from '../../services/engine/index.js';
import { testFile } from '../quantization/sample-files.js';
import type { Subject } from '../quantization/subjects.js';
import { attempt, THREADS, type Workbench } from '../quantization/workbench.js';
import { type PruneRun, prune, pruning } from './prune-run.js';

const names = ['resnet8', 'fcnn', 'espcn'] as const;
const CALIBRATION_SAMPLES = 200;
const BUDGET_MS_EACH = 2000;

const half = pruning({ budget: { macs: 0.5 } });
const int8: CompressionStep = { method: 'static-int8' };
/** Alone with the multiple that it has before int8, so that the single speed-ups are of the same widths. */
const recipes: Readonly<Record<string, readonly CompressionStep[]>> = {
  pruned: [{ ...half, round_to: 16 }],
  int8: [int8],
  both: [half, int8],
};

export async function combinationSection(bench: Workbench): Promise<void> {
  for (const name of names) {
    const subject = bench.subjects.find((each) => each.name === name);
    if (subject) await combine(bench, subject);
  }
}

async function combine(bench: Workbench, subject: Subject): Promise<void> {
  const calibration = await bench.calibration(subject, CALIBRATION_SAMPLES);
  const evaluation = await testFile(subject, join(bench.folder, 'samples'));
  const made: { readonly artifact: string; readonly run: PruneRun }[] = [];
  for (const [artifact, steps] of Object.entries(recipes)) {
    const task = {
      name: `combination-${subject.name}-${artifact}`,
      modelPath: subject.modelPath,
      plan: { steps },
      calibration,
      evaluation,
      threads: THREADS,
    };
    const run = await attempt(bench, { section: 'combination', subject: subject.name, artifact }, () => prune(bench, task));
    if (run) made.push({ artifact, run });
  }
  const { models } = await benchmark({
    modelPaths: [subject.modelPath, ...made.map(({ run }) => run.path)],
    dataPath: calibration,
    scratch: join(bench.folder, 'scratch'),
    threads: THREADS,
    budgetMs: BUDGET_MS_EACH * (made.length + 1),
  });
  const source = models[0]?.median_ms ?? Number.NaN;
  const speedups = new Map(made.map(({ artifact }, at) => [artifact, source / (models[at + 1]?.median_ms ?? Number.NaN)] as const));
  const product = (speedups.get('pruned') ?? Number.NaN) * (speedups.get('int8') ?? Number.NaN);
  for (const { artifact, run } of made) {
    const { report } = run;
    bench.tell({
      ...{ section: 'combination', subject: subject.name, artifact, source_ms: source, speedup: speedups.get(artifact) },
      ...(artifact === 'both' ? { product } : {}),
      ...{ bytes: report.artifact.bytes, source_bytes: report.source.bytes },
      ...{ top1: report.artifact.metrics?.top1, source_top1: report.source.metrics?.top1, sqnr_db: report.fidelity.sqnr_db },
    });
  }
}
