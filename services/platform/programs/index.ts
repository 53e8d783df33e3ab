/** Where the programs lie that run as processes or threads of their own: TypeScript among the sources, JavaScript in dist (build.mjs). */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Named by its path below services/. */
export type Program =
  | `${'api' | 'cli' | 'webhooks' | 'worker'}/main`
  | 'api/uploads/inspection-thread'
  | 'worker/compression/engine-process';

/** False in what `npm run build` makes. */
export const runsFromSource = import.meta.url.endsWith('.ts');

export function programFile(program: Program): string {
  return path.join(packageFolder(), runsFromSource ? `services/${program}.ts` : `dist/services/${program}.js`);
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
