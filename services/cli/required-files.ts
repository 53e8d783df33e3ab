/** Files named on the command line are looked for before any work begins. */
import { stat } from 'node:fs/promises';
import { UsageError } from './exit-codes.js';

/** Throws UsageError for the first path that is not a readable file; undefined paths are options that were not given. */
export async function requireFiles(...paths: readonly (string | undefined)[]): Promise<void> {
  for (const path of paths) {
    if (path === undefined) continue;
    const found = await stat(path).catch(() => null);
    if (found === null) throw new UsageError(`There is no file ${path}.`);
    if (!found.isFile()) throw new UsageError(`${path} is not a file.`);
  }
}
