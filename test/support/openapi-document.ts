/** The OpenAPI document as the routes give it, without a database: only the shapes of the dependencies are there. */
import { randomBytes } from 'node:crypto';
import { Readiness } from '#platform/lifecycle';
import { createApiMetrics, createLogger, createRegistry } from '#platform/observability';
import { packageVersion } from '#platform/programs';
import { buildApp } from '../../services/api/app.js';
import type { ApiDeps } from '../../services/api/deps.js';
import { cursorCodec } from '../../services/api/http/cursor.js';
import { createJobWatcher } from '../../services/api/jobs/job-watcher.js';

export async function openApiDocument(): Promise<Record<string, unknown>> {
  const registry = createRegistry('api');
  // What only handlers touch is left out; the document comes from the schemas alone.
  const deps = {
    logger: createLogger({ name: 'api', level: 'silent', format: 'json' }),
    registry,
    metrics: createApiMetrics(registry),
    readiness: new Readiness(),
    limits: { jsonBodyMaxBytes: 1_048_576, uploadMaxBytes: 8 * 1024 ** 3, requestsPerMinute: 6_000 },
    cursors: cursorCodec(randomBytes(32)),
    watcher: createJobWatcher({ revisions: async () => [], onError: () => undefined }),
    apiKeys: {},
    jobs: {},
  } as unknown as ApiDeps;
  const app = await buildApp(deps, { version: packageVersion() });
  await app.ready();
  try {
    return JSON.parse(JSON.stringify(app.swagger())) as Record<string, unknown>;
  } finally {
    await app.close();
  }
}
