// `npm run build`: every program as one file and the parts it shares with others. A process that must read hundreds of small modules
// starts in twice the time (decision 0015). Types are checked by `npm run typecheck`.
import { readFileSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const programs = [
  'cli/main',
  'api/main',
  'api/uploads/inspection-thread',
  'worker/main',
  'worker/compression/engine-process',
  'webhooks/main',
];
/** Read from their own folders they are hundreds of modules, too. Plain JavaScript without files of their own. */
const bundled = ['@bufbuild/protobuf', 'commander', 'typebox'];
const { dependencies, engines } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'));

rmSync(new URL('dist', import.meta.url), { recursive: true, force: true });
await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: programs.map((program) => `services/${program}.ts`),
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
