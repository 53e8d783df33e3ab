/** Where the programs lie that run as processes or threads of their own: TypeScript among the sources, JavaScript in dist (build.mjs). */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker, type WorkerOptions } from 'node:worker_threads';

/** Named by its path below services/. */
export type Program =
  | `${'api' | 'cli' | 'webhooks' | 'worker'}/main`
  | 'api/uploads/inspection-thread'
  | 'engine/runtime/session-thread'
  | 'worker/compression/engine-process';

/** False in what `npm run build` makes. */
export const runsFromSource = import.meta.url.endsWith('.ts');

export function programFile(program: Program): string {
  return path.join(packageFolder(), runsFromSource ? `services/${program}.ts` : `dist/services/${program}.js`);
}

/** Starts a program as a thread. From source it must load TypeScript, which in a thread takes a call where a process takes a flag. */
export function startThread(program: Program, options: WorkerOptions): Worker {
  const script = pathToFileURL(programFile(program));
  if (!runsFromSource) return new Worker(script, options);
  // By file: the package's export would be resolved for require() here.
  const loader = new URL('./esm/api/index.mjs', pathToFileURL(createRequire(import.meta.url).resolve('tsx')));
  const bootstrap = `import('${loader}').then(({ register }) => { register(); return import('${script}'); });`;
  return new Worker(bootstrap, { ...options, eval: true, execArgv: [] });
}

/** As package.json says it. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(path.join(packageFolder(), 'package.json'), 'utf8')) as { version: string };
  return version;
}

function packageFolder(): string {
  for (let folder = path.dirname(fileURLToPath(import.meta.url)); ; folder = path.dirname(folder)) {
    if (existsSync(path.join(folder, 'package.json'))) return folder;
    if (folder === path.dirname(folder)) throw new Error('package.json was not found.');
  }
}
