/** Must show 3 to 6: from scratch, distilled, recovered after pruning, and in few bits, on Fashion-MNIST. */
import { join } from 'node:path';
import { chosen } from '../quantization/chosen.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { fashion, fashionFiles, type LearningRun, learn, mean, recipeOfProvenance, subjectFiles } from './runs.js';
import { distillationGain, lowBit, recovered, recoveryLoss, recoverySeconds, scratchAccuracy } from './thresholds.js';

function tell(bench: Workbench, what: Readonly<Record<string, unknown>>, run: LearningRun): void {
  const { report, top1, seconds, cpuSeconds } = run;
  const steps = report.training.map(({ method, steps_per_second }) => ({ method, steps_per_second }));
  bench.tell({
    ...what,
    top1,
    source_top1: report.source.metrics?.top1,
    speedup: report.speedup,
    size_ratio: report.size_ratio,
    steps,
    seconds,
    cpuSeconds,
  });
}

/** ResNet-8 from random weights, eight epochs. */
export async function scratchSection(bench: Workbench): Promise<void> {
  const files = await fashionFiles(bench);
  const what = { section: 'scratch', subject: 'resnet8 28x28', epochs: 8 };
  const run = await attempt(bench, what, () =>
    learn(bench, {
      name: 'scratch',
      modelPath: fashion.teacher,
      plan: { steps: [{ method: 'train', ...recipeOfProvenance, epochs: 8 }], objective: 'size' },
      data: files.labelled,
      evaluation: files.test,
    }),
  );
  if (run) tell(bench, what, run);
  bench.judge('resnet8 from scratch', 'top-1', { measured: run?.top1 ?? null, bound: scratchAccuracy });
}

const SEEDS = [0, 1, 2, 3, 4];
const EPOCHS = 3;
/** Hinton's mix, nine parts teacher. */
const mixed = [
  { kind: 'kd', temperature: 4, weight: 0.9 },
  { kind: 'cross-entropy', weight: 0.1 },
] as const;

/** A student of an eighth of the parameters: labels alone, labels and teacher, teacher alone. */
export async function distillationSection(bench: Workbench): Promise<void> {
  const files = await fashionFiles(bench);
  const kinds = {
    labels: { method: 'train' },
    'labels and teacher': { method: 'distill', teacher: 'given', losses: mixed },
    'teacher alone': { method: 'distill', teacher: 'given', losses: [{ kind: 'kd', temperature: 4 }] },
  } as const;
  const found = new Map<string, number[]>();
  for (const seed of SEEDS) {
    for (const [kind, step] of Object.entries(kinds)) {
      const what = { section: 'distillation', subject: kind, seed };
      const run = await attempt(bench, what, () =>
        learn(bench, {
          name: `distillation-${kind.replaceAll(' ', '-')}-${seed}`,
          modelPath: fashion.student,
          teacherPath: fashion.teacher,
          plan: { steps: [{ ...step, ...recipeOfProvenance, epochs: EPOCHS, seed }], objective: 'size' },
          data: kind === 'teacher alone' ? files.unlabelled : files.labelled,
          evaluation: files.test,
        }),
      );
      if (!run) continue;
      tell(bench, what, run);
      found.set(kind, [...(found.get(kind) ?? []), run.top1]);
    }
  }
  const labels = mean(found.get('labels') ?? []);
  for (const kind of Object.keys(kinds).slice(1)) {
    const gain = 100 * (mean(found.get(kind) ?? []) - labels);
    bench.judge(kind, 'points over labels alone, mean over seeds', {
      measured: Number.isFinite(gain) ? gain : null,
      bound: distillationGain,
    });
  }
}

/**
 * Chosen on training images that the recipe was not fitted to. One epoch at 30 %: .8965 of 2,000 against .892 without fresh normalizations
 * at .01. Three epochs, three seeds, 4,000 images: .8991 at 30 % and .9030 at 50 %, with crops and temperature 4 .8963 (two seeds) and .9033
 * (one); other schedules, optimizers, batches, averages and mixup were not told apart (docs/benchmarks.md).
 */
const recovery = {
  method: 'distill',
  teacher: 'given',
  optimizer: { name: 'sgd', momentum: 0.9, nesterov: true, weight_decay: 5e-4 },
  learning_rate: 0.03,
  warm_up_steps: 20,
  clip_norm: 2,
  batch_normalization: 'insert',
  augmentation: [{ name: 'flip' }],
  losses: [{ kind: 'kd', temperature: 2 }],
} as const;

/** Pruned for accuracy, repaired on 1,000 unlabelled images, then distilled from the unpruned network on all of them. `only`: 0.5/3, ... */
export async function recoverySection(bench: Workbench, only?: string): Promise<void> {
  const files = await fashionFiles(bench);
  const runs = [...chosen('recovery', only, new Map(['0.5/1', '0.5/3', '0.3/1', '0.3/3'].map((each) => [each, each])))];
  const epochsOf = (macs: number) =>
    runs.map((each) => each.split('/').map(Number)).flatMap(([share, epochs]) => (share === macs ? [epochs ?? 1] : []));
  for (const macs of [0.5, 0.3].filter((share) => epochsOf(share).length > 0)) {
    const what = { section: 'recovery', subject: `resnet8 ${macs}` };
    const pruned = await attempt(bench, what, () =>
      learn(bench, {
        name: `recovery-${macs}`,
        modelPath: fashion.teacher,
        plan: { steps: [{ method: 'structured-pruning', budget: { macs }, round_to: 8 }], objective: 'size' },
        data: files.few,
        evaluation: files.test,
      }),
    );
    if (!pruned) continue;
    tell(bench, { ...what, epochs: 0 }, pruned);
    for (const epochs of epochsOf(macs)) {
      const run = await attempt(bench, { ...what, epochs }, () =>
        learn(bench, {
          name: `recovery-${macs}-${epochs}`,
          modelPath: join(pruned.path),
          teacherPath: fashion.teacher,
          plan: { steps: [{ ...recovery, epochs }] },
          data: files.unlabelled,
          evaluation: files.test,
        }),
      );
      if (run) tell(bench, { ...what, epochs }, run);
      bench.judge(`resnet8 ${macs}, ${epochs} epochs`, 'top-1', { measured: run?.top1 ?? null, bound: recovered(macs, epochs) });
    }
  }
}

/**
 * resnet2b has channels in eights and sixteens, so that steps of eight would take whole layers, and only 2,000 images here, so that it needs
 * more of them made (chosen by its distance from the source on 500 of them, fitted to the others).
 */
const recoveryOfOthers = {
  fcnn: { round_to: 8, step: { ...recovery, teacher: 'source', epochs: 2 } },
  resnet2b: {
    round_to: 4,
    step: {
      method: 'distill',
      teacher: 'source',
      epochs: 200,
      learning_rate: 2e-3,
      augmentation: [{ name: 'flip' }, { name: 'crop', padding: 3 }, { name: 'mixup', alpha: 1 }],
      losses: [{ kind: 'teacher-values' }],
    },
  },
} as const;

/** Half the multiply-accumulates of other networks, pruned and distilled from themselves in one recipe, without labels. */
export async function recoveryOfOthersSection(bench: Workbench): Promise<void> {
  for (const [name, { round_to, step }] of Object.entries(recoveryOfOthers)) {
    const subject = bench.subjects.find((each) => each.name === name);
    if (!subject) continue;
    const files = await subjectFiles(bench, subject);
    const what = { section: 'recovery', subject: `${name} 0.5`, epochs: step.epochs };
    const steps = [{ method: 'structured-pruning', budget: { macs: 0.5 }, round_to }, step] as const;
    const run = await attempt(bench, what, () =>
      learn(bench, {
        name: `recovery-${name}`,
        modelPath: subject.modelPath,
        plan: { steps, objective: 'size' },
        data: files.unlabelled,
        evaluation: files.test,
      }),
    );
    const before = run?.report.source.metrics?.top1;
    if (run) tell(bench, what, run);
    const lost = run && before !== undefined ? 100 * (before - run.top1) : null;
    bench.judge(`${name} 0.5`, 'points lost', { measured: lost, bound: recoveryLoss });
    bench.judge(`${name} 0.5`, 'seconds', { measured: run?.seconds ?? null, bound: recoverySeconds });
  }
}

const widths = [3, 2] as const;
/** The widths that `only` names, as in "2,3". */
const widthsOf = (only: string | undefined): (typeof widths)[number][] =>
  widths.filter((bits) => only === undefined || only.split(',').includes(String(bits)));

/** Rounded on 1,000 images without labels, nothing trained behind it; first and last layer 8 bits, activations 8 bits. */
export async function reconstructionSection(bench: Workbench, only?: string): Promise<void> {
  const files = await fashionFiles(bench);
  for (const weight_bits of widthsOf(only)) {
    const found = new Map<string, number>();
    for (const rounding of ['gptq', 'block-reconstruction'] as const) {
      const what = { section: 'reconstruction', subject: `resnet8, ${weight_bits} bits, ${rounding}` };
      const run = await attempt(bench, what, () =>
        learn(bench, {
          name: `${rounding}-${weight_bits}`,
          modelPath: fashion.teacher,
          plan: { steps: [{ method: 'qat', weight_bits, rounding, epochs: 0 }], objective: 'size' },
          data: files.few,
          evaluation: files.test,
        }),
      );
      if (!run) continue;
      tell(bench, what, run);
      found.set(rounding, run.top1);
    }
    const limit = found.get('gptq');
    const measured = found.get('block-reconstruction') ?? null;
    if (limit !== undefined) bench.judge(`resnet8, ${weight_bits} bits`, 'top-1 over GPTQ', { measured, bound: { limit, kind: 'least' } });
  }
}

/** One epoch of quantization-aware training from the codes of GPTQ; first and last layer 8 bits, activations 8 bits. */
export async function lowBitSection(bench: Workbench, only?: string): Promise<void> {
  const files = await fashionFiles(bench);
  for (const weight_bits of widthsOf(only)) {
    const what = { section: 'low-bit', subject: `resnet8, ${weight_bits} bits` };
    const step = {
      method: 'qat',
      weight_bits,
      epochs: 1,
      learning_rate: 1e-3,
      warm_up_steps: 30,
      clip_norm: 1,
      optimizer: { name: 'adamw', weight_decay: 0 },
      losses: [{ kind: 'kd', temperature: 4 }],
      augmentation: recovery.augmentation,
    } as const;
    const run = await attempt(bench, what, () =>
      learn(bench, {
        name: `low-bit-${weight_bits}`,
        modelPath: fashion.teacher,
        plan: { steps: [step], objective: 'size' },
        data: files.unlabelled,
        evaluation: files.test,
      }),
    );
    if (run) tell(bench, what, run);
    bench.judge(`resnet8, ${weight_bits} bits`, 'top-1', { measured: run?.top1 ?? null, bound: lowBit(weight_bits) });
  }
}
