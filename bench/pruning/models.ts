/** Must show 2: every model with anything to prune, at 75 % and 50 % of its multiply-accumulates: what was promised, reached and frozen. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { dataFolder, type Subject } from '../quantization/subjects.js';
import { attempt, THREADS, type Workbench } from '../quantization/workbench.js';
import { keptFractions, type PruneRun, prune, pruning } from './prune-run.js';
import { neverSlower } from './thresholds.js';

const FRACTIONS = [0.75, 0.5] as const;
const CALIBRATION_SAMPLES = 200;
/** Odd, hostile and broken files; those that run have no layers worth pruning, but for this one. */
const ODD = 'onnx-edge';
const ODD_BUT_LARGE = 'light_resnet50.onnx';

interface Listed {
  readonly name: string;
  readonly modelPath: string;
  readonly subject?: Subject;
  readonly calibration?: string;
}

/** `only`: names with commas between; default all. */
export async function modelsSection(bench: Workbench, only?: string): Promise<void> {
  const wanted = only?.split(',');
  for (const model of listed(bench).filter(({ name }) => wanted?.includes(name) ?? true)) {
    const subject = model.subject;
    const calibration = subject
      ? await bench.calibration(subject, Math.min(CALIBRATION_SAMPLES, subject.calibrationSamples))
      : model.calibration;
    for (const macs of FRACTIONS) {
      const what = { section: 'models', subject: model.name, asked: macs };
      const run = await attempt(bench, what, () =>
        prune(bench, {
          name: `models-${model.name.replaceAll('/', '_')}-${macs}`,
          modelPath: model.modelPath,
          plan: { steps: [pruning({ budget: { macs } })] },
          ...(calibration === undefined ? {} : { calibration }),
          threads: THREADS,
        }),
      );
      if (run) tellRun(bench, { what, run, samples: calibration !== undefined });
    }
  }
}

function tellRun(
  bench: Workbench,
  { what, run, samples }: { what: { subject: string; asked: number }; run: PruneRun; samples: boolean },
): void {
  const { report, seconds } = run;
  const frozen = new Map<string, number>();
  for (const { action, by, reason } of report.nodes)
    if (action === 'left' && by === 'structured-pruning') frozen.set(reason, (frozen.get(reason) ?? 0) + 1);
  bench.tell({
    ...what,
    samples,
    kept: keptFractions(report),
    checks: report.gate.checks,
    speedup: report.speedup,
    sqnr_db: report.fidelity.sqnr_db,
    pruned: report.layers.filter(({ form }) => form.includes('pruned')).length,
    frozen: Object.fromEntries(frozen),
    warnings: report.warnings.filter((warning) => warning.startsWith('structured-pruning')),
    seconds,
  });
  bench.judge(`${what.subject} ${what.asked}`, 'source latency / artifact', { measured: report.speedup, bound: neverSlower });
}

/** Every file below the data, the transformer that LATHE_MINILM names, and the samples that the benchmark knows. */
function listed(bench: Workbench): Listed[] {
  const files = readdirSync(dataFolder, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.onnx'));
  const usable = files.filter((file) => !file.startsWith(ODD) || file.endsWith(ODD_BUT_LARGE)).sort();
  const bySubject = new Map(bench.subjects.map((subject) => [subject.modelPath, subject] as const));
  const models: Listed[] = usable.map((file) => {
    const modelPath = join(dataFolder, file);
    const subject = bySubject.get(modelPath);
    return { name: subject?.name ?? relative(dataFolder, modelPath), modelPath, ...(subject ? { subject } : {}) };
  });
  const minilm = process.env.LATHE_MINILM;
  if (minilm === undefined || !existsSync(minilm)) return models;
  return [...models, { name: 'minilm', modelPath: minilm, calibration: join(dirname(minilm), 'sst2_train512.npz') }];
}
