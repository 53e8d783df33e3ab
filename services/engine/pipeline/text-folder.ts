/** Texts that are kept in a folder between jobs, a file for each, named by the hash of what decides it. */
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CalibrationCache } from '../method.js';

/** `scope` is what all keys have in common. Entries appear whole or not at all; the folder is made when the first one is kept. */
export function textFolder(folder: string, scope: string): CalibrationCache {
  const pathOf = (key: string): string => join(folder, `${createHash('sha256').update(scope).update(key).digest('hex')}.json`);
  return {
    async get(key) {
      try {
        return await readFile(pathOf(key), 'utf8');
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
    },
  };
}
