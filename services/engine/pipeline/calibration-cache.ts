/** The folder in which calibration results are kept, one file for each; named by everything that decides them. */
import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { CalibrationCache } from '../method.js';
import type { CompressionPlan } from './plan.js';
import { toolVersion } from './tool-version.js';

export interface CacheScope {
  readonly folder: string;
  /** SHA-256 of the source model. */
  readonly sourceSha256: string;
  readonly dataPath: string;
  readonly plan: CompressionPlan;
}

/** A cache for one model, data set, recipe and version of this tool. Entries appear whole or not at all. */
export async function openCalibrationCache({ folder, sourceSha256, dataPath, plan }: CacheScope): Promise<CalibrationCache> {
  const data = createHash('sha256');
  await pipeline(createReadStream(dataPath), data);
  const scope = JSON.stringify([toolVersion(), sourceSha256, data.digest('hex'), plan.steps]);
  const pathOf = (key: string): string => join(folder, `${createHash('sha256').update(scope).update(key).digest('hex')}.json`);
  return {
    async get(key) {
      try {
        return await readFile(pathOf(key), 'utf8');
      } catch {
        // Not there, or not readable: the samples are run again.
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
