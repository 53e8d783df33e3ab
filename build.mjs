// `npm run build`: every program as one file and the parts it shares with others. A process that must read hundreds of small modules
// starts in twice the time (decision 0015). Types are checked by `npm run typecheck`.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';

const programs = [
  'cli/main',
  'api/main',
  'api/uploads/inspection-thread',
  'engine/runtime/session-thread',
  'worker/main',
  'worker/compression/engine-process',
  'webhooks/main',
];
/** What the tests start with settings of their own (test/support/program-process.ts). */
const parts = ['worker/deps', 'webhooks/deps'];
/** Read from their own folders they are hundreds of modules, too. Plain JavaScript without files of their own. */
const bundled = ['@bufbuild/protobuf', 'commander', 'typebox'];
const { dependencies, engines } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

const startedAt = new Date();
const { outputFiles } = await build({
  write: false,
  absWorkingDir: import.meta.dirname,
  entryPoints: [...programs, ...parts].map((program) => `services/${program}.ts`),
  outbase: 'services',
  outdir: 'dist/services',
  chunkNames: 'parts/[name]-[hash]',
  external: Object.keys(dependencies).filter((name) => !bundled.includes(name)),
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: `node${engines.node.replace('>=', '')}`,
  sourcemap: true,
  logLevel: 'warning',
  // What is bundled may be written for require().
  banner: { js: "import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url);" },
});

// A service may be running from here: what has not changed is left alone, and no file is ever seen half written.
for (const { path, contents } of outputFiles) {
  if (existsSync(path) && readFileSync(path).equals(contents)) continue;
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.part`, contents);
  renameSync(`${path}.part`, path);
}
const dist = join(import.meta.dirname, 'dist');
const written = new Set(outputFiles.map(({ path }) => path));
for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath ?? entry.path, entry.name);
  if (entry.isFile() && !written.has(path)) rmSync(path);
}
// By this file's age a test tells whether the build is stale.
utimesSync(join(dist, 'services/cli/main.js'), startedAt, startedAt);
