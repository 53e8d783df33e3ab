/** Must show 1: how closely the fused artifacts answer as fp32 does, and how well against labels. */
import { type Answers, answersOf, unfused } from './answers.js';
import { rivals } from './reference-tool.js';
import { equalCount, mcnemar, mean, sqnrDb, topClasses } from './statistics.js';
import type { Samples, Subject } from './subjects.js';
import { fidelityBounds, meanDropBound, SIGNIFICANCE, saturationSubjects, unfusedBound } from './thresholds.js';
import { attempt, type Workbench } from './workbench.js';

/** Images on which closeness to fp32 is measured; accuracy takes all. */
const IMAGES = 2000;

interface Baseline {
  readonly samples: Samples;
  readonly answers: Answers;
}

interface FidelityFigures {
  readonly sqnr_db: number;
  /** Share of the first images with the class of fp32; absent for models that do not classify. */
  readonly agreement?: number;
  /** Share of the first images with the same class when the file is computed in float. */
  readonly unfused_agreement?: number;
  readonly accuracy?: number;
  readonly accuracy_fp32?: number;
  /** Exact McNemar test against fp32, two-sided. */
  readonly p?: number;
}

export async function fidelitySection(bench: Workbench): Promise<void> {
  const drops: number[] = [];
  for (const subject of bench.subjects) {
    const what = { section: 'fidelity', subject: subject.name };
    const samples = subject.test();
    const answers = await answersOf(bench.runtime, { modelPath: subject.modelPath, subject, samples });
    const baseline = { samples, answers };
    const figures = await attempt(bench, { ...what, artifact: 'lathe' }, async () => {
      const { path } = await bench.artifact(subject);
      return measure(bench, { subject, baseline, modelPath: path });
    });
    if (figures) {
      bench.tell({ ...what, artifact: 'lathe', ...figures });
      if (figures.accuracy !== undefined && figures.accuracy_fp32 !== undefined)
        drops.push(100 * (figures.accuracy_fp32 - figures.accuracy));
    }
    judgeFidelity(bench, subject, figures);
    for (const method of rivals) {
      const rival = await bench.rival(subject, method);
      if (rival) bench.tell({ ...what, artifact: method, ...(await measure(bench, { subject, baseline, modelPath: rival.path })) });
    }
  }
  if (drops.length > 0) {
    bench.tell({ section: 'fidelity', subject: 'mean of classifiers', models: drops.length, mean_drop_points: mean(drops) });
    bench.judge('mean of classifiers', 'accuracy lost, points', { measured: mean(drops), bound: meanDropBound });
  }
}

async function measure(
  bench: Workbench,
  { subject, baseline, modelPath }: { readonly subject: Subject; readonly baseline: Baseline; readonly modelPath: string },
): Promise<FidelityFigures> {
  const { samples, answers: reference } = baseline;
  const answers = await answersOf(bench.runtime, { modelPath, subject, samples });
  const count = Math.min(IMAGES, samples.count);
  const first = ({ scores, each }: Answers): Float32Array => scores.subarray(0, count * each);
  const sqnr_db = sqnrDb(first(reference), first(answers));
  const { labels } = samples;
  if (!labels) return { sqnr_db };
  const inFloat = await answersOf(bench.runtime, { modelPath, subject, samples }, { limit: count, config: unfused });
  const [expected, actual] = [topClasses(reference.scores, reference.each), topClasses(answers.scores, answers.each)];
  return {
    sqnr_db,
    agreement: equalCount(expected, actual, count) / count,
    unfused_agreement: equalCount(topClasses(inFloat.scores, inFloat.each), actual, count) / count,
    accuracy: equalCount(actual, labels) / samples.count,
    accuracy_fp32: equalCount(expected, labels) / samples.count,
    p: mcnemar(expected, actual, labels).p,
  };
}

function judgeFidelity(bench: Workbench, { name }: Subject, figures: FidelityFigures | undefined): void {
  const bounds = fidelityBounds[name];
  if (!bounds) return;
  bench.judge(name, 'logit SQNR, dB', { measured: figures?.sqnr_db ?? null, bound: bounds.sqnr_db });
  bench.judge(name, 'top-1 as fp32', { measured: figures?.agreement ?? null, bound: bounds.agreement });
  if (saturationSubjects.includes(name))
    bench.judge(name, 'top-1 fused as unfused', { measured: figures?.unfused_agreement ?? null, bound: unfusedBound });
  const { accuracy, accuracy_fp32, p } = figures ?? {};
  const worse = accuracy !== undefined && accuracy_fp32 !== undefined && accuracy < accuracy_fp32;
  // A gain is no loss, however sure.
  bench.judge(name, 'p of an accuracy loss', {
    measured: p === undefined ? null : worse ? p : 1,
    bound: { limit: SIGNIFICANCE, kind: 'least' },
  });
}
