/** The models of the benchmark: unlabelled samples for the factors, labelled ones to choose by, and the test split for what is told. */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openNpz } from '../../services/engine/data/npz.js';
import { dataTypes } from '../../services/engine/ir/index.js';
import { type ArraySpec, float32Array, int64Array, writeNpz } from '../../test/support/write-npz.js';
import { testFile } from '../quantization/sample-files.js';
import { type Subject, subjects } from '../quantization/subjects.js';

export interface LowRankModel {
  readonly name: string;
  readonly path: string;
  /** Multiples of ranks that are tried. */
  readonly multiples: readonly number[];
  /** Of the train split, unlabelled. */
  readonly calibration: string;
  /** Another part of the train split, labelled. */
  readonly heldOut: string;
  readonly test: string;
}

/** Images for the factors, and to choose by: the two halves of a train split that has no more. */
const IMAGES = { calibration: 1000, heldOut: 5000 } as const;
const TRAIN_IMAGES: Readonly<Record<string, number>> = { mlp: 12_000, fcnn: 20_000, vit: 2000 };

export async function modelsIn(folder: string): Promise<LowRankModel[]> {
  mkdirSync(folder, { recursive: true });
  const present = subjects.filter(({ name, modelPath }) => TRAIN_IMAGES[name] !== undefined && existsSync(modelPath));
  const models: LowRankModel[] = [];
  for (const subject of present) models.push(await imageModel(subject, folder));
  const transformer = await textModel(folder);
  return transformer ? [...models, transformer] : models;
}

async function imageModel(subject: Subject, folder: string): Promise<LowRankModel> {
  const count = Math.min(IMAGES.calibration + IMAGES.heldOut, TRAIN_IMAGES[subject.name] ?? 0);
  const { dims, values, labels } = subject.calibration(count);
  const size = values.length / count;
  const images = (from: number, to: number): ArraySpec => float32Array([to - from, ...dims], values.subarray(from * size, to * size));
  const [calibration, heldOut] = ['calibration', 'held-out'].map((part) => join(folder, `${subject.name}.${part}.npz`)) as [string, string];
  await writeNpz(calibration, { [subject.input]: images(0, IMAGES.calibration) });
  await writeNpz(heldOut, {
    [subject.input]: images(IMAGES.calibration, count),
    labels: int64Array([count - IMAGES.calibration], [...(labels?.subarray(IMAGES.calibration) ?? [])]),
  });
  return { name: subject.name, path: subject.modelPath, multiples: [16, 8], calibration, heldOut, test: await testFile(subject, folder) };
}

/**
 * LATHE_MINILM names it. Factors come from the 512 training sentences beside it, the choice from the validation split (bench/reference/sst2_dev.py):
 * half a point is less than two of 256 sentences.
 */
async function textModel(folder: string): Promise<LowRankModel | undefined> {
  const path = process.env.LATHE_MINILM;
  if (!path || !existsSync(path)) return undefined;
  const [training, heldOut, test] = ['sst2_train512.npz', 'sst2_dev.npz', 'sst2_test.npz'].map((file) => join(dirname(path), file)) as [
    string,
    string,
    string,
  ];
  const calibration = join(folder, 'minilm.calibration.npz');
  await writeNpz(calibration, await unlabelled(training, folder));
  return { name: 'minilm', path, multiples: [16], calibration, heldOut, test };
}

async function unlabelled(path: string, scratch: string): Promise<Record<string, ArraySpec>> {
  const arrays = await openNpz(path, scratch);
  const specs: Record<string, ArraySpec> = {};
  try {
    for (const name of ['input_ids', 'attention_mask']) {
      const array = arrays.get(name);
      const rows = await array?.rows(0, array.dims[0] ?? 0);
      if (rows) specs[name] = { descr: `<i${dataTypes[rows.dataType].bits / 8}`, shape: rows.dims, bytes: rows.data.read() };
    }
  } finally {
    for (const array of arrays.values()) await array.close();
  }
  return specs;
}
