/** The compiled service, for tests that start it as processes: half the time of a start from source. Built once a run, if stale. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { vi } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
/** Written by every build. */
const program = path.join(root, 'dist/services/cli/main.js');

/** Resolves to the absolute path of `file`, e.g. `cli/main.js`, compiled from the sources as they are now. */
export async function builtService(file: string): Promise<string> {
  const runDir = process.env.LATHE_TEST_RUN_DIR;
  if (!runDir) throw new Error('LATHE_TEST_RUN_DIR is not set: test/support/global-setup.ts did not run');
  const built = path.join(runDir, 'built');
  if (takeTurn(runDir)) {
    try {
      if (isStale()) build();
    } finally {
      writeFileSync(built, '');
    }
  }
  await vi.waitUntil(() => existsSync(built), { timeout: 120_000, interval: 50 });
  return path.join(root, 'dist/services', file);
}

/** True for the first process of this run that asks. */
function takeTurn(runDir: string): boolean {
  try {
    mkdirSync(path.join(runDir, 'building'));
    return true;
  } catch {
    return false;
  }
}

function isStale(): boolean {
  if (!existsSync(program)) return true;
  const builtAt = statSync(program).mtimeMs;
  const sources = readdirSync(path.join(root, 'services'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return ['build.mjs', ...sources.map((name) => path.join('services', name))].some(
    (name) => statSync(path.join(root, name)).mtimeMs > builtAt,
  );
}

function build(): void {
  execFileSync(process.execPath, [path.join(root, 'build.mjs')], { cwd: root });
}
