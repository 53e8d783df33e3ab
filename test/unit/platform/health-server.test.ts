import { afterEach, expect, it } from 'vitest';
import { type HealthServer, Readiness, startHealthServer } from '#platform/lifecycle';
import { createLogger, createRegistry, createWorkerMetrics } from '#platform/observability';

const logger = createLogger({ name: 'test', level: 'silent', format: 'json' });
let server: HealthServer | undefined;
afterEach(() => server?.close());

async function start() {
  const readiness = new Readiness();
  const registry = createRegistry('worker');
  server = await startHealthServer({ host: '127.0.0.1', port: 0, readiness, registry, logger });
  const { url } = server;
  const get = async (path: string, init?: RequestInit) => {
    const response = await fetch(`${url}${path}`, init);
    return { status: response.status, type: response.headers.get('content-type'), text: await response.text() };
  };
  return { readiness, registry, get };
}

it('a process that lives but is not ready says both, and why only to the log', async () => {
  const { readiness, get } = await start();
  readiness.add('database', async () => {
    throw new Error('connect ECONNREFUSED 10.1.2.3:5432');
  });
  readiness.add('queue', async () => undefined);
  readiness.state = 'ready';
  expect(await get('/livez')).toMatchObject({ status: 200, text: '{"status":"ok"}' });
  const ready = await get('/readyz');
  expect(ready.status).toBe(503);
  expect(JSON.parse(ready.text)).toEqual({ status: 'unavailable', state: 'ready', checks: { database: 'failed', queue: 'ok' } });
});

it('is ready when every check passes, and not while it starts or stops', async () => {
  const { readiness, get } = await start();
  readiness.add('database', async () => undefined);
  expect((await get('/readyz')).status).toBe(503);
  readiness.state = 'ready';
  expect((await get('/readyz')).status).toBe(200);
  readiness.state = 'stopping';
  expect((await get('/readyz')).status).toBe(503);
});

it('shows the metrics of the process as Prometheus text', async () => {
  const { registry, get } = await start();
  createWorkerMetrics(registry).jobsFinished.inc({ state: 'succeeded', code: 'none' });
  const { status, type, text } = await get('/metrics');
  expect(status).toBe(200);
  expect(type).toContain('text/plain');
  expect(text).toContain('jobs_finished_total{state="succeeded",code="none",process="worker"} 1');
});

it('has nothing else: other paths and methods are 404', async () => {
  const { get } = await start();
  expect((await get('/')).status).toBe(404);
  expect((await get('/metrics', { method: 'POST' })).status).toBe(404);
  expect((await get('/constructor')).status).toBe(404);
});
