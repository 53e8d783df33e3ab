/** The folder in which calibration results are kept, one file for each; named by everything that decides them. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { packageVersion } from '#platform/programs';
import type { ResultCache } from '../method.js';
import type { CompressionPlan } from './plan.js';
import { textFolder } from './text-folder.js';

export interface CacheScope {
  readonly folder: string;
  /** SHA-256 of the source model. */
  readonly sourceSha256: string;
  readonly dataPath: string;
  readonly plan: CompressionPlan;
}

/**
 * A cache for one model, data set, recipe and version of this tool. Entries appear whole or not at all. The data set is read when the
 * cache is first asked: most methods never calibrate.
 */
export function openCalibrationCache(scope: CacheScope): ResultCache {
  let opened: Promise<ResultCache> | undefined;
  const cache = (): Promise<ResultCache> => {
    opened ??= cacheOf(scope);
    return opened;
  };
  return {
    get: async (key) => (await cache()).get(key),
    put: async (key, text) => (await cache()).put(key, text),
  };
}

async function cacheOf({ folder, sourceSha256, dataPath, plan }: CacheScope): Promise<ResultCache> {
  const data = createHash('sha256');
  await pipeline(createReadStream(dataPath), data);
  return textFolder(folder, JSON.stringify([packageVersion(), sourceSha256, data.digest('hex'), plan.steps]));
}
