/** One throw-away folder for the whole test run; the first test that wants a database starts a server in it, this stops it. */
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
// By path: Vitest resolves the files of its set-up without the `source` condition.
import { useEmbeddedPostgres } from '../../services/platform/database-server/index.js';

export async function setup(): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'lathe-test-run-'));
  await chmod(dataDir, 0o711);
  process.env.LATHE_TEST_RUN_DIR = dataDir;
  return async () => {
    if (existsSync(path.join(dataDir, 'postgres'))) await (await useEmbeddedPostgres({ dataDir, durable: false })).release();
    await rm(dataDir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  };
}
