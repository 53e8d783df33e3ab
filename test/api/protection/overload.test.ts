/** A loop that is held up: work is refused, and /readyz says so too. A slow start is no overload. */
import { setTimeout as pause } from 'node:timers/promises';
import { agent } from 'supertest';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { buildApp } from '../../../services/api/app.js';
import { type ApiServer, startApiServer } from '../../support/api-server.js';
import { waitUntil } from '../../support/wait-until.js';

// The loop is held for seconds, more than once.
vi.setConfig({ testTimeout: 60_000 });
let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer();
});
afterAll(() => server.close());

/** Longer than the delay that counts as overload; then one turn of the loop, in which it is measured. */
async function holdLoop(): Promise<void> {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3_200);
  await pause(0);
}

it('a start that held the loop up is no overload: the first requests are served', async () => {
  const app = await buildApp(server.deps, { version: '0.0.0-test' });
  app.addHook('onReady', async () => {
    while (!app.isUnderPressure()) await holdLoop();
  });
  const client = agent(await app.listen({ host: '127.0.0.1', port: 0 })).set('Authorization', `Bearer ${server.key}`);
  try {
    expect(app.isUnderPressure()).toBe(true);
    await client.get('/readyz').expect(200);
    await client.get('/v1/jobs').expect(200);
  } finally {
    await app.close();
  }
});

it('while routes answer overloaded /readyz is 503, and it is 200 when they serve again', async () => {
  const { anonymous, client } = server;
  const refused = async () => {
    while (!server.app.isOverloaded()) await holdLoop();
    const [route, ready] = [await client.get('/v1/jobs'), await anonymous.get('/readyz')];
    return route.body.code === 'overloaded' && ready.status === 503 && ready.body.checks.event_loop === 'failed';
  };
  await waitUntil(refused, { what: 'both to refuse' });
  await anonymous.get('/livez').expect(200);
  await waitUntil(async () => (await anonymous.get('/readyz')).status === 200, { what: 'the service to be ready again' });
  await client.get('/v1/jobs').expect(200);
});
