/** Texts that are kept in a folder between jobs, a file for each, named by the hash of what decides it. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ResultCache } from '../method.js';

/** Above this, the entries that were not used for longest go. */
const FOLDER_BYTES_MAX = 256 * 2 ** 20;

/** `scope` is what all keys have in common. Entries appear whole or not at all; the folder is made when the first one is kept. */
export function textFolder(folder: string, scope: string, bytesMax = FOLDER_BYTES_MAX): ResultCache {
  const pathOf = (key: string): string => join(folder, `${createHash('sha256').update(scope).update(key).digest('hex')}.json`);
  return {
    async get(key) {
      try {
        const text = await readFile(pathOf(key), 'utf8');
        const now = new Date();
        await utimes(pathOf(key), now, now);
        return text;
      } catch {
        // Not there, or not readable: it is made again.
        return undefined;
      }
    },
    async put(key, text) {
      await mkdir(folder, { recursive: true });
      const draft = join(folder, `${randomUUID()}.draft`);
      await writeFile(draft, text);
      await rename(draft, pathOf(key));
      await keepWithin(folder, bytesMax);
    },
  };
}

/** Several processes may do this at once: what another one removed first is gone all the same. */
async function keepWithin(folder: string, bytesMax: number): Promise<void> {
  const paths = (await readdir(folder)).map((name) => join(folder, name));
  const files = (await Promise.all(paths.map(async (path) => ({ path, ...(await sizeAndUse(path)) })))).sort((a, b) => b.usedMs - a.usedMs);
  let bytes = 0;
  for (const file of files) {
    bytes += file.bytes;
    if (bytes > bytesMax) await rm(file.path, { force: true });
  }
}

async function sizeAndUse(path: string): Promise<{ readonly bytes: number; readonly usedMs: number }> {
  const found = await stat(path).catch(() => null);
  return { bytes: found?.size ?? 0, usedMs: found?.mtimeMs ?? 0 };
}
