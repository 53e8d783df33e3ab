/** Must show 3: ESPCN x3 from fresh weights on patches of T91, judged on Set5. */
import { join } from 'node:path';
import { pairs, psnr } from '../embedded/luma-pairs.js';
import { writePatches } from '../embedded/luma-patches.js';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { learn } from './runs.js';
import { pictureQuality } from './thresholds.js';

const PATCHES = { side: 24, stride: 16 } as const;
/** One in this many pictures of T91 is kept for validation. */
const VALIDATION_STEP = 10;

export async function superResolutionSection(bench: Workbench): Promise<void> {
  const taught = pairs(join(dataFolder, 'superres/T91')).filter((_, at) => at % VALIDATION_STEP !== 0);
  const data = await writePatches(join(bench.folder, 'samples/t91-patches.npz'), taught, PATCHES);
  const modelPath = join(dataFolder, 'superres/models/espcn_x3.onnx');
  const step = {
    method: 'train',
    initialize: 'fresh',
    epochs: 20,
    batch_size: 16,
    learning_rate: 2e-3,
    losses: [{ kind: 'mse' }],
  } as const;
  const what = { section: 'super-resolution', subject: 'espcn_x3', epochs: step.epochs };
  const run = await attempt(bench, what, () =>
    learn(bench, { name: 'super-resolution', modelPath, plan: { steps: [step], objective: 'size' }, data, evaluation: data }),
  );
  const held = pairs(join(dataFolder, 'superres/T91'), { step: VALIDATION_STEP });
  const set5 = pairs(join(dataFolder, 'superres/Set5'));
  const measured = run ? await psnr(bench.runtime, run.path, { all: set5 }) : null;
  if (run) {
    const validation_db = await psnr(bench.runtime, run.path, { all: held });
    const source_db = await psnr(bench.runtime, modelPath, { all: set5 });
    bench.tell({ ...what, validation_db, psnr_db: measured, source_db, seconds: run.seconds });
  }
  bench.judge('espcn_x3 from scratch', 'PSNR of Set5, dB', { measured, bound: pictureQuality });
}
