/** A folder of its own for each upload, gone when the upload ends, however it ends. */
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';

export async function withUploadFolder<T>(root: string, work: (folder: string) => Promise<T>): Promise<T> {
  const folder = path.join(root, `upload-${randomUUID()}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** At start: what a killed process left. Only one API process works in `root`. */
export async function removeAbandonedUploads(root: string): Promise<void> {
  const names = await readdir(root).catch(() => []);
  await Promise.all(names.map((name) => rm(path.join(root, name), { recursive: true, force: true })));
}
