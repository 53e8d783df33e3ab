/** Must show 3: latency of the artifacts against their sources in turns, on one thread and two; multiples of 1, 8 and 16 compared. */
import { join } from 'node:path';
import { benchmark } from '../../services/engine/index.js';
import type { Subject } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { keptFractions, type PruneRun, type PruningStep, prune, pruning } from './prune-run.js';
import { neverSlower, speedups } from './thresholds.js';

const CALIBRATION_SAMPLES = 200;
const BUDGET_MS_EACH = 1500;
const cases: readonly { readonly subject: string; readonly macs: number }[] = [
  { subject: 'resnet8', macs: 0.5 },
  { subject: 'resnet8', macs: 0.3 },
  { subject: 'fcnn', macs: 0.5 },
  { subject: 'espcn', macs: 0.5 },
];
/** What a recipe without round_to gives comes first. */
const roundings: readonly (PruningStep['round_to'] | undefined)[] = [undefined, 1, 8, 16, 'auto'];

export async function latencySection(bench: Workbench): Promise<void> {
  for (const { subject: name, macs } of cases) {
    const subject = bench.subjects.find((each) => each.name === name);
    if (!subject) continue;
    for (const threads of [1, 2]) await compare(bench, { subject, macs, threads });
  }
}

async function compare(bench: Workbench, { subject, macs, threads }: { subject: Subject; macs: number; threads: number }): Promise<void> {
  const what = { section: 'latency', subject: subject.name, asked: macs, threads };
  const calibration = await bench.calibration(subject, CALIBRATION_SAMPLES);
  const made: { readonly round_to: string; readonly run: PruneRun }[] = [];
  for (const round_to of roundings) {
    const label = String(round_to ?? 'default');
    const step = pruning({ budget: { macs }, ...(round_to === undefined ? {} : { round_to }) });
    const name = `latency-${subject.name}-${macs}-${threads}-${label}`;
    const task = { name, modelPath: subject.modelPath, plan: { steps: [step] }, calibration, threads };
    const run = await attempt(bench, { ...what, round_to: label }, () => prune(bench, task));
    if (run) made.push({ round_to: label, run });
  }
  const { models } = await benchmark({
    modelPaths: [subject.modelPath, ...made.map(({ run }) => run.path)],
    dataPath: calibration,
    scratch: join(bench.folder, 'scratch'),
    threads,
    budgetMs: BUDGET_MS_EACH * (made.length + 1),
  });
  const source = models[0]?.median_ms ?? Number.NaN;
  for (const [at, { round_to, run }] of made.entries()) {
    const speedup = source / (models[at + 1]?.median_ms ?? Number.NaN);
    const widths = run.report.layers.flatMap(({ form }) => /^pruned (.*)$/.exec(form)?.[1] ?? []);
    const refused = run.report.warnings.filter((warning) => warning.includes('refused') || warning.includes('no widths'));
    bench.tell({ ...what, round_to, source_ms: source, speedup, kept: keptFractions(run.report), widths, refused });
    bench.judge(`${subject.name} ${macs}, ${threads} threads, ${round_to}`, 'source latency / artifact', {
      measured: speedup,
      bound: neverSlower,
    });
    const bound = speedups[`${subject.name} ${macs}`];
    if (bound && threads === 1 && round_to === 'auto')
      bench.judge(`${subject.name} ${macs}`, 'source latency / artifact, asked', { measured: speedup, bound });
  }
}
