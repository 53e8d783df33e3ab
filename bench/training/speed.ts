/** Must show 2: steps per second and peak memory beside PyTorch, the two in turns. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { memoryOfEach, speedOfAll, speedOfEach } from './thresholds.js';

const run = promisify(execFile);
const NETWORKS = ['mlp', 'resnet', 'lstm', 'vit', 'espcn'];
const TURNS = 3;

interface Figures {
  readonly steps_per_s: number;
  readonly rss_mb: number;
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

async function figures(command: string, args: readonly string[]): Promise<Figures> {
  const { stdout } = await run(command, args, { maxBuffer: 2 ** 24 });
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as Figures;
}

/** `python`: an environment with torch; without it only our own figures are told. */
export async function speedSection(bench: Workbench, python: string | undefined): Promise<void> {
  const ratios: number[] = [];
  const script = join(dataFolder, '../reference/train_torch.py');
  for (const subject of NETWORKS) {
    const model = join(dataFolder, 'untrained', `${subject}.onnx`);
    const what = { section: 'speed', subject };
    await attempt(bench, what, async () => {
      const ours: Figures[] = [];
      const theirs: Figures[] = [];
      for (let turn = 0; turn < TURNS; turn++) {
        ours.push(await figures(process.execPath, ['--import', 'tsx', join(import.meta.dirname, 'steps.ts'), subject, model]));
        if (python) theirs.push(await figures(python, [script, subject, '2']));
      }
      const of = (all: readonly Figures[], pick: (each: Figures) => number): number | null =>
        all.length === 0 ? null : median(all.map(pick));
      const line = {
        steps_per_s: of(ours, ({ steps_per_s }) => steps_per_s),
        rss_mb: of(ours, ({ rss_mb }) => rss_mb),
        torch_steps_per_s: of(theirs, ({ steps_per_s }) => steps_per_s),
        torch_rss_mb: of(theirs, ({ rss_mb }) => rss_mb),
      };
      const speed = line.steps_per_s && line.torch_steps_per_s ? line.steps_per_s / line.torch_steps_per_s : null;
      bench.tell({ ...what, ...line, ratio: speed });
      if (!python) return;
      if (speed) ratios.push(speed);
      bench.judge(subject, 'steps per second / PyTorch', { measured: speed, bound: speedOfEach });
      const memory = line.rss_mb && line.torch_rss_mb ? line.rss_mb / line.torch_rss_mb : null;
      bench.judge(subject, 'peak memory / PyTorch', { measured: memory, bound: memoryOfEach });
    });
  }
  if (!python) return;
  const geometric =
    ratios.length === NETWORKS.length ? Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length) : null;
  bench.judge('geometric mean of the five', 'steps per second / PyTorch', { measured: geometric, bound: speedOfAll });
}
