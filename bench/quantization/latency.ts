/** Must show 2: latency of fp32, our artifact and the reference's, in turns, at 2 threads and batch 1. */
import { benchmark } from '../../services/engine/index.js';
import { rivals } from './reference-tool.js';
import { neverSlower, speedupBounds } from './thresholds.js';
import { attempt, THREADS, type Workbench } from './workbench.js';

const BUDGET_MS_EACH = 2000;

export async function latencySection(bench: Workbench): Promise<void> {
  for (const subject of bench.subjects) {
    const what = { section: 'latency', subject: subject.name };
    const ours = await attempt(bench, what, () => bench.artifact(subject));
    const files = [
      { artifact: 'fp32', path: subject.modelPath },
      ...(ours ? [{ artifact: 'lathe', path: ours.path }] : []),
      ...(await rivalFiles(bench, subject)),
    ];
    const { models } = await benchmark({
      modelPaths: files.map(({ path }) => path),
      dataPath: await bench.calibration(subject, subject.calibrationSamples),
      scratch: `${bench.folder}/scratch`,
      threads: THREADS,
      budgetMs: BUDGET_MS_EACH * files.length,
    });
    const fp32 = models[0]?.median_ms ?? Number.NaN;
    const medians = Object.fromEntries(files.map(({ artifact }, index) => [artifact, models[index]?.median_ms ?? null]));
    const speedups = Object.fromEntries(
      files.slice(1).map(({ artifact }, index) => [artifact, fp32 / (models[index + 1]?.median_ms ?? Number.NaN)]),
    );
    bench.tell({ ...what, threads: THREADS, median_ms: medians, speedup: speedups });
    const measured = speedups.lathe ?? null;
    bench.judge(subject.name, 'fp32 latency / ours', { measured, bound: neverSlower });
    const bound = speedupBounds[subject.name];
    if (bound) bench.judge(subject.name, 'fp32 latency / ours, asked', { measured, bound });
  }
}

async function rivalFiles(bench: Workbench, subject: Parameters<Workbench['rival']>[0]): Promise<{ artifact: string; path: string }[]> {
  const files: { artifact: string; path: string }[] = [];
  for (const method of rivals) {
    const rival = await bench.rival(subject, method);
    if (rival) files.push({ artifact: method, path: rival.path });
  }
  return files;
}
