/** Samples as .npz files, as the product takes them; each is made once in a folder. */
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { float32Array, int64Array, writeNpz } from '../../test/support/write-npz.js';
import type { Samples, Subject } from './subjects.js';

async function writeSamples(path: string, input: string, { dims, count, values, labels }: Samples): Promise<void> {
  await writeNpz(`${path}.part`, {
    [input]: float32Array([count, ...dims], values),
    ...(labels ? { labels: int64Array([count], [...labels]) } : {}),
  });
  renameSync(`${path}.part`, path);
}

/** Unlabelled: nothing may be chosen by labels. */
export async function calibrationFile(subject: Subject, count: number, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${subject.name}.train${count}.npz`);
  if (!existsSync(path)) {
    const { labels: _, ...unlabelled } = subject.calibration(count);
    await writeSamples(path, subject.input, unlabelled);
  }
  return path;
}

export async function testFile(subject: Subject, folder: string): Promise<string> {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${subject.name}.test.npz`);
  if (!existsSync(path)) await writeSamples(path, subject.input, subject.test());
  return path;
}
