/** Must show 3, first half: what a run costs, ours against the reference's, each a process of its own. */
import type { Subject } from './subjects.js';
import { wallBound, wallBounds } from './thresholds.js';
import { attempt, type Workbench } from './workbench.js';

/** Beside the default number of samples. */
const moreSamples: Readonly<Record<string, readonly number[]>> = { vit: [2000], fcnn: [2000] };

export async function costSection(bench: Workbench): Promise<void> {
  for (const subject of bench.subjects) {
    for (const samples of [subject.calibrationSamples, ...(moreSamples[subject.name] ?? [])]) await compareCost(bench, subject, samples);
  }
}

async function compareCost(bench: Workbench, subject: Subject, samples: number): Promise<void> {
  const what = { section: 'cost', subject: subject.name, samples };
  const ours = await attempt(bench, what, () => bench.artifact(subject, samples));
  // The reference's own fastest variant of the same work: u8 activations, s8 weights per channel, MinMax.
  const rival = await bench.rival(subject, 'minmax', samples);
  if (ours) {
    const { wall_s, cpu_s, peak_mb, report } = ours;
    bench.tell({ ...what, tool: 'lathe', wall_s, cpu_s, peak_mb, bytes: report.artifact.bytes, seconds: report.seconds });
  }
  if (rival) {
    const { wall_s, cpu_s, peak_mb, report } = rival;
    bench.tell({ ...what, tool: 'reference minmax', wall_s, cpu_s, peak_mb, bytes: report.size, script: report });
  }
  if (!bench.hasReference) return;
  const bound = wallBounds[`${subject.name} ${samples}`] ?? wallBound;
  // The script's own clock starts after its interpreter; ours counts the start of the process.
  const measured = ours && rival ? ours.wall_s / rival.report.total : null;
  bench.judge(`${subject.name} ${samples}`, 'wall time / reference', { measured, bound });
  bench.judge(`${subject.name} ${samples}`, 'processor time / reference', {
    measured: ours && rival ? ours.cpu_s / rival.cpu_s : null,
    bound,
  });
}
