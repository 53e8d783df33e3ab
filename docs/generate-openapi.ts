/** `npm run openapi`: writes docs/openapi.json from the route schemas. No server is started and nothing is connected. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createLogger, createRegistry } from '#platform/observability';
import { buildApp } from '../services/api/app.js';
import type { ApiDeps } from '../services/api/deps.js';
import { packageVersion } from '../services/api/package-version.js';

/** Registering routes needs the limits and the logger; the rest is called by requests only, and there are none. */
const deps = {
  logger: createLogger({ name: 'openapi', level: 'silent', format: 'json' }),
  registry: createRegistry('api'),
  limits: { jsonBodyMaxBytes: 1024 * 1024, uploadMaxBytes: 1024 * 1024, requestsPerMinute: 1 },
} as unknown as ApiDeps;

const app = await buildApp(deps, { version: packageVersion() });
await app.ready();
await writeFile(join(import.meta.dirname, 'openapi.json'), `${JSON.stringify(app.swagger(), null, 2)}\n`);
