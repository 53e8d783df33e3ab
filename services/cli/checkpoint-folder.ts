/** `--checkpoint`: where a training that was killed goes on when it is started again with the same model, data and recipe. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { CompressionRun } from './run-compression.js';

/** Runs `work` with a folder of its own below `root`, made when missing; it goes only when the work is done. */
export async function withCheckpoints<Result>(
  root: string,
  run: CompressionRun,
  work: (folder: string) => Promise<Result>,
): Promise<Result> {
  const folder = join(resolve(root), await keyOf(run));
  await mkdir(folder, { recursive: true });
  const result = await work(folder);
  await rm(folder, { recursive: true, force: true });
  return result;
}

/** A checkpoint of another model, data set or recipe is never taken for this one's. */
async function keyOf({ model, recipe, data, teacher }: CompressionRun): Promise<string> {
  const { describeModelFiles } = await import('#engine');
  const hash = createHash('sha256').update(JSON.stringify(recipe));
  for (const file of [model, teacher]) {
    hash.update('model');
    for (const path of file === undefined ? [] : (await describeModelFiles(resolve(file))).paths) await addFile(hash, path);
  }
  if (data !== undefined) await addFile(hash, data);
  return hash.digest('hex').slice(0, 32);
}

async function addFile(hash: Hash, path: string): Promise<void> {
  for await (const chunk of createReadStream(path)) hash.update(chunk);
}
