/** Must show 3: ESPCN x3 from fresh weights on patches of T91, judged on Set5. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { concatenated } from '../../services/engine/ir/index.js';
import { float32Array, writeNpz } from '../../test/support/write-npz.js';
import { pairs, psnr } from '../embedded/luma-pairs.js';
import type { Plane } from '../quantization/images.js';
import { dataFolder } from '../quantization/subjects.js';
import { attempt, type Workbench } from '../quantization/workbench.js';
import { learn } from './runs.js';
import { pictureQuality } from './thresholds.js';

const FACTOR = 3;
const PATCH = 24;
const STRIDE = 16;
/** One in this many pictures of T91 is kept for validation. */
const VALIDATION_STEP = 10;

/** Flips, and turns by transposing: index of the pixel (x, y) of a patch in the picture that it is turned from. */
const turns: readonly ((x: number, y: number) => readonly [number, number])[] = [
  (x, y) => [x, y],
  (x, y) => [PATCH - 1 - x, y],
  (x, y) => [y, x],
  (x, y) => [PATCH - 1 - y, x],
];

/** Patches of low resolution with those of high resolution that lie over them, each turned four ways. */
async function patchFile(folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, 't91-patches.npz');
  if (existsSync(path)) return path;
  const [inputs, labels]: [Float32Array[], Float32Array[]] = [[], []];
  const all = pairs(join(dataFolder, 'superres/T91')).filter((_, at) => at % VALIDATION_STEP !== 0);
  for (const { high, low } of all) {
    for (let top = 0; top + PATCH <= low.height; top += STRIDE) {
      for (let left = 0; left + PATCH <= low.width; left += STRIDE) {
        for (const turn of turns) {
          inputs.push(patch(low, PATCH, (x, y) => offset(turn(x, y), [left, top])));
          labels.push(patch(high, FACTOR * PATCH, (x, y) => fine(turn, [x, y], [left, top])));
        }
      }
    }
  }
  await writeNpz(path, {
    input: float32Array([inputs.length, 1, PATCH, PATCH], concatenated(inputs)),
    labels: float32Array([labels.length, 1, FACTOR * PATCH, FACTOR * PATCH], concatenated(labels)),
  });
  return path;
}

type Place = readonly [x: number, y: number];

const offset = ([x, y]: Place, [left, top]: Place): Place => [left + x, top + y];

/** The same turn on the fine grid, whose patch has FACTOR times the side. */
function fine(turn: (x: number, y: number) => Place, [x, y]: Place, [left, top]: Place): Place {
  const last = PATCH - 1;
  const [ax, ay] = turn(0, 0);
  const [bx, by] = turn(1, 0);
  const side = FACTOR * PATCH - 1;
  const [ox, oy] = [ax === last ? side : 0, ay === last ? side : 0];
  const [dx, dy] = [bx - ax, by - ay];
  const [cx, cy] = turn(0, 1);
  return [FACTOR * left + ox + dx * x + (cx - ax) * y, FACTOR * top + oy + dy * x + (cy - ay) * y];
}

function patch(plane: Plane, side: number, place: (x: number, y: number) => Place): Float32Array {
  return Float32Array.from({ length: side * side }, (_, at) => {
    const [x, y] = place(at % side, Math.floor(at / side));
    return (plane.data[y * plane.width + x] ?? 0) / 255;
  });
}

export async function superResolutionSection(bench: Workbench): Promise<void> {
  const data = await patchFile(join(bench.folder, 'samples'));
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
