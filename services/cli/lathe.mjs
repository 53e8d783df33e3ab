#!/usr/bin/env node
// The `bin` of package.json. A file of the repository and not of dist/, so that npm can link it before anything is built.
import { existsSync } from 'node:fs';

const main = new URL('../../dist/services/cli/main.js', import.meta.url);
if (!existsSync(main)) {
  process.stderr.write('lathe: not built yet; run npm ci (or npm run build) first\n');
  process.exit(1);
}
await import(main.href);
