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

/** LATHE_MINILM names it; the 512 training sentences beside it are divided in two. */
async function textModel(folder: string): Promise<LowRankModel | undefined> {
  const path = process.env.LATHE_MINILM;
  if (!path || !existsSync(path)) return undefined;
  const arrays = await openNpz(join(dirname(path), 'sst2_train512.npz'), folder);
  const [calibration, heldOut] = ['calibration', 'held-out'].map((part) => join(folder, `minilm.${part}.npz`)) as [string, string];
  const half = 256;
  const part = async (from: number, names: readonly string[]): Promise<Record<string, ArraySpec>> => {
    const specs: Record<string, ArraySpec> = {};
    for (const name of names) {
      const rows = await arrays.get(name)?.rows(from, half);
      if (rows) specs[name] = { descr: `<i${dataTypes[rows.dataType].bits / 8}`, shape: rows.dims, bytes: rows.data.read() };
    }
    return specs;
  };
  try {
    await writeNpz(calibration, await part(0, ['input_ids', 'attention_mask']));
    await writeNpz(heldOut, await part(half, ['input_ids', 'attention_mask', 'labels']));
  } finally {
    for (const array of arrays.values()) await array.close();
  }
  return { name: 'minilm', path, multiples: [16], calibration, heldOut, test: join(dirname(path), 'sst2_test.npz') };
}
