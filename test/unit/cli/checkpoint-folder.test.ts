/** `--checkpoint`: the same call finds what it left; another model, data set, teacher or recipe never does. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeModel } from '#engine';
import { withCheckpoints } from '../../../services/cli/checkpoint-folder.js';
import type { CompressionRun } from '../../../services/cli/run-compression.js';
import { classifier } from '../../support/build-model.js';

let folder: string;
let root: string;
let run: CompressionRun;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lathe-checkpoints-'));
  root = join(folder, 'state');
  const files = { model: join(folder, 'model.onnx'), other: join(folder, 'other.onnx'), data: join(folder, 'data.npz') };
  await writeFile(files.model, encodeModel(classifier()));
  await writeFile(files.other, encodeModel(classifier({ hidden: 8 })));
  await writeFile(files.data, 'samples');
  await mkdir(join(folder, 'copy'));
  run = { model: files.model, data: files.data, recipe: { steps: [{ method: 'train' }] }, out: join(folder, 'out') };
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The folder of a run that is cut off after it wrote its state. */
async function cutOff(of: CompressionRun): Promise<string> {
  let used = '';
  const work = async (given: string): Promise<void> => {
    used = given;
    await writeFile(join(given, 'train-0.checkpoint'), 'state');
    throw new Error('killed');
  };
  await expect(withCheckpoints(root, of, work)).rejects.toThrow('killed');
  return used;
}

describe('withCheckpoints', () => {
  it('gives the same call the state that it left, wherever it writes to, and removes it once the work is done', async () => {
    const first = await cutOff(run);
    const seen = await withCheckpoints(root, { ...run, out: 'elsewhere' }, async (given) => [given, ...(await readdir(given))]);
    expect(seen).toEqual([first, 'train-0.checkpoint']);
    expect(await readdir(root)).toEqual([]);
  });

  it('gives every other call a folder of its own', async () => {
    const other = run.model.replace('model.onnx', 'other.onnx');
    const changed = join(folder, 'copy/data.npz');
    await writeFile(changed, 'samplez');
    const recipe = { steps: [{ method: 'train' as const, epochs: 3 }] };
    const runs = [run, { ...run, model: other }, { ...run, teacher: other }, { ...run, data: changed }, { ...run, recipe }];
    const folders = await Promise.all(runs.map(cutOff));
    expect(new Set(folders).size).toBe(runs.length);
  });
});
