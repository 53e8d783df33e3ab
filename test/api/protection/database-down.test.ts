/** When the database goes away clients are told so, with 503 and nothing internal; when it is back, so is the service. */
import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type ApiServer, startApiServer } from '../../support/api-server.js';
import { waitUntil } from '../../support/wait-until.js';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer();
});
afterAll(() => server.close());

it('answers 503 database_unavailable while the database refuses connections, and 200 after', async () => {
  const url = new URL(server.databaseUrl);
  const name = url.pathname.slice(1);
  url.pathname = '/postgres';
  const admin = new pg.Client({ connectionString: url.href });
  await admin.connect();
  try {
    await server.client.get('/v1/jobs').expect(200);
    await admin.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS false`);
    await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1', [name]);
    for (let request = 0; request < 12; request++) {
      const response = await server.client.get('/v1/jobs');
      expect([response.status, response.body.code, response.headers['retry-after']]).toEqual([503, 'database_unavailable', '5']);
      expect(JSON.stringify(response.body)).not.toContain(name);
    }
    const ready = await server.anonymous.get('/readyz').expect(503);
    expect(ready.body.checks.database).toBe('failed');
    expect(JSON.stringify(ready.body)).not.toContain(name);
    await server.anonymous.get('/livez').expect(200);
    await admin.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS true`);
    await waitUntil(async () => (await server.client.get('/v1/jobs')).status === 200, { what: 'the API to recover' });
  } finally {
    await admin.query(`ALTER DATABASE ${name} WITH ALLOW_CONNECTIONS true`);
    await admin.end();
  }
});
