/** Must show 3, second half: peak memory of the whole process tree with methods that keep distributions. */
import type { ReferenceMethod } from './reference-tool.js';
import { flatBound, memoryBounds } from './thresholds.js';
import { attempt, type Workbench } from './workbench.js';

interface Series {
  readonly subject: string;
  readonly method: ReferenceMethod & ('percentile' | 'entropy');
  readonly samples: readonly number[];
  /** The reference keeps every value of every sample; it is not given more than this machine can hold. */
  readonly referenceSamples: readonly number[];
}

const series: readonly Series[] = [
  { subject: 'fcnn', method: 'percentile', samples: [100, 500, 2000], referenceSamples: [100, 500, 2000] },
  { subject: 'yolox', method: 'entropy', samples: [40], referenceSamples: [10] },
  { subject: 'yolox', method: 'percentile', samples: [40], referenceSamples: [10] },
];

export async function memorySection(bench: Workbench): Promise<void> {
  for (const each of series) await measureSeries(bench, each);
}

async function measureSeries(bench: Workbench, { subject: name, method, samples: counts, referenceSamples }: Series): Promise<void> {
  const subject = bench.subjects.find((each) => each.name === name);
  if (!subject) return;
  const what = { section: 'memory', subject: name, method };
  const peaks = new Map<number, number>();
  for (const samples of counts) {
    const recipe = { steps: [{ method: 'static-int8', calibration: { method, samples } }] };
    const run = await attempt(bench, { ...what, samples }, () =>
      bench.compress(subject, { recipe, samples, name: `${name}-${method}-${samples}` }),
    );
    if (run) {
      peaks.set(samples, run.peak_mb);
      bench.tell({
        ...what,
        tool: 'lathe',
        samples,
        peak_mb: run.peak_mb,
        wall_s: run.wall_s,
        cpu_s: run.cpu_s,
        seconds: run.report.seconds,
      });
    }
    const bound = memoryBounds[`${name} ${method} ${samples}`];
    if (bound) bench.judge(`${name} ${method} ${samples}`, 'peak memory, MB', { measured: run?.peak_mb ?? null, bound });
  }
  const [first, last] = [peaks.get(counts[0] ?? -1), peaks.get(counts.at(-1) ?? -1)];
  if (counts.length > 1) {
    const measured = first && last ? last / first : null;
    bench.judge(`${name} ${method}`, `peak of ${counts.at(-1)} / peak of ${counts[0]} samples`, { measured, bound: flatBound });
  }
  for (const samples of referenceSamples) {
    const rival = await bench.rival(subject, method, samples);
    if (rival) bench.tell({ ...what, tool: 'reference', samples, peak_mb: rival.peak_mb, wall_s: rival.wall_s, cpu_s: rival.cpu_s });
  }
}
