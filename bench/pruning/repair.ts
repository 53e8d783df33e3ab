/**
 * Must show 4: accuracy after repair without labels, over four disjoint sets of 1,000 images, and what of the loss of plain pruning comes
 * back. Widths are chosen for accuracy (objective size): by time they would be other ones on every machine.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { float32Array, writeNpz } from '../../test/support/write-npz.js';
import { testFile } from '../quantization/sample-files.js';
import { mean } from '../quantization/statistics.js';
import type { Subject } from '../quantization/subjects.js';
import { attempt, THREADS, type Workbench } from '../quantization/workbench.js';
import { keptFractions, type PruningStep, prune, pruning } from './prune-run.js';
import { recovered, repairedAccuracy, repairSeconds } from './thresholds.js';

const SETS = 4;
const IMAGES = 1000;
const FRACTIONS = [0.5, 0.3] as const;

const plain: Partial<PruningStep> = { criterion: 'l2', repair: false, sensitivity: false };
const variants: Readonly<Record<string, Partial<PruningStep>>> = {
  'l2, not repaired': plain,
  'l2, repaired': { criterion: 'l2', sensitivity: false },
  reconstruction: {},
};

/** Images [first, first + count) of the train split, unlabelled. */
async function imagesFile(bench: Workbench, subject: Subject, { first, count }: { first: number; count: number }): Promise<string> {
  const { dims, values } = subject.calibration(first + count);
  const size = dims.reduce((product, dim) => product * dim, 1);
  const folder = join(bench.folder, 'samples');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${subject.name}.train${first}-${first + count}.npz`);
  await writeNpz(path, { [subject.input]: float32Array([count, ...dims], values.slice(first * size, (first + count) * size)) });
  return path;
}

interface Trial {
  readonly subject: Subject;
  readonly step: PruningStep;
  readonly variant: string;
  readonly set: number;
}

export async function repairSection(bench: Workbench): Promise<void> {
  const resnet8 = bench.subjects.find(({ name }) => name === 'resnet8');
  if (resnet8) for (const macs of FRACTIONS) await meanOverSets(bench, resnet8, macs);
  await comeBack(bench);
}

async function meanOverSets(bench: Workbench, subject: Subject, macs: number): Promise<void> {
  for (const [variant, options] of Object.entries(variants)) {
    const found: { readonly top1: number; readonly seconds: number }[] = [];
    for (let set = 0; set < SETS; set += 1) {
      const one = await accuracy(bench, { subject, step: pruning({ budget: { macs }, round_to: 8, ...options }), variant, set });
      if (one) found.push(one);
    }
    if (found.length === 0) continue;
    const accuracies = found.map(({ top1 }) => top1);
    const seconds = Math.max(...found.map((each) => each.seconds));
    const [low, high] = [Math.min(...accuracies), Math.max(...accuracies)];
    bench.tell({ section: 'repair', subject: subject.name, asked: macs, variant, mean: mean(accuracies), low, high, seconds });
    if (variant !== 'reconstruction') continue;
    const bound = repairedAccuracy[String(macs)];
    if (bound) bench.judge(`resnet8 ${macs}`, 'top-1, mean of four sets', { measured: mean(accuracies), bound });
    bench.judge(`resnet8 ${macs}`, 'seconds of pruning and repair', { measured: seconds, bound: repairSeconds });
  }
}

async function accuracy(bench: Workbench, trial: Trial): Promise<{ top1: number; source: number; seconds: number } | undefined> {
  const { subject, step, variant, set } = trial;
  const asked = step.budget?.macs;
  const what = { section: 'repair', subject: subject.name, asked, variant, set };
  return attempt(bench, what, async () => {
    const calibration = await imagesFile(bench, subject, { first: set * IMAGES, count: IMAGES });
    const evaluation = await testFile(subject, join(bench.folder, 'samples'));
    const name = `repair-${subject.name}-${asked}-${variant.replaceAll(/\W+/g, '-')}-${set}`;
    const task = {
      name,
      modelPath: subject.modelPath,
      plan: { steps: [step], objective: 'size' as const },
      calibration,
      evaluation,
      threads: THREADS,
    };
    const { report, seconds } = await prune(bench, task);
    const top1 = report.artifact.metrics?.top1 ?? Number.NaN;
    const source = report.source.metrics?.top1 ?? Number.NaN;
    bench.tell({ ...what, top1, source, kept: keptFractions(report), speedup: report.speedup, seconds });
    return { top1, source, seconds };
  });
}

/** Half of the multiply-accumulates of each labelled model, with plain L2 pruning and with ours. */
async function comeBack(bench: Workbench): Promise<void> {
  const shares: number[] = [];
  for (const subject of bench.subjects.filter((each) => each.calibration(1).labels !== undefined)) {
    const budget = { macs: 0.5 };
    const before = await accuracy(bench, { subject, step: pruning({ budget, ...plain }), variant: 'l2, plain', set: 0 });
    const after = await accuracy(bench, { subject, step: pruning({ budget }), variant: 'default', set: 0 });
    if (!before || !after) continue;
    const lost = before.source - before.top1;
    if (lost <= 0) continue;
    const share = (after.top1 - before.top1) / lost;
    shares.push(share);
    bench.tell({ section: 'repair', subject: subject.name, source: before.source, plain: before.top1, ours: after.top1, recovered: share });
  }
  if (shares.length > 0)
    bench.judge('labelled models', 'share of the lost accuracy that comes back', { measured: mean(shares), bound: recovered });
}
