/** Keys that end, request ids, limits and what a client is told of them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootstrapInstallation, openDatabase } from '#platform/db';
import { type ApiServer, startApiServer } from '../../support/api-server.js';
import { createTestDatabase } from '../../support/test-database.js';
import { waitUntil } from '../../support/wait-until.js';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({ LATHE_RATE_LIMIT_PER_MINUTE: '30' });
});
afterAll(() => server.close());

describe('API keys', () => {
  it('work as Bearer and as X-API-Key, and show when they were used', async () => {
    const made = await server.client
      .post('/v1/api-keys')
      .send({ name: 'ci', scopes: ['jobs:read', 'keys:manage'] })
      .expect(201);
    expect(made.body.key.endsWith(made.body.last_four)).toBe(true);
    await server.anonymous.get('/v1/jobs').set('X-API-Key', made.body.key).expect(200);
    const listed = await server.client.get('/v1/api-keys').expect(200);
    const row = listed.body.data.find((key: { id: string }) => key.id === made.body.id);
    expect(row.last_used_at).not.toBeNull();
    expect(JSON.stringify(listed.body)).not.toContain(made.body.key);
  });

  it('stop working within seconds of being revoked, in a process that has just used them too', async () => {
    const made = await server.client
      .post('/v1/api-keys')
      .send({ name: 'gone', scopes: ['jobs:read'] })
      .expect(201);
    const use = () => server.anonymous.get('/v1/limits').set('X-API-Key', made.body.key);
    await use().expect(200);
    // By the database alone, as another process would do it.
    await server.database.db.apiKey.update({ where: { id: made.body.id }, data: { revokedAt: new Date() } });
    await waitUntil(async () => (await use()).status === 401, {
      what: 'the revoked key to be refused',
      timeoutMs: 20_000,
      intervalMs: 400,
    });
  });

  it('stop working when they expire', async () => {
    const made = await server.client
      .post('/v1/api-keys')
      .send({ name: 'short', scopes: ['jobs:read'], expires_in_seconds: 1 })
      .expect(201);
    await waitUntil(async () => (await server.anonymous.get('/v1/limits').set('X-API-Key', made.body.key)).status === 401, {
      what: 'the key to expire',
      timeoutMs: 20_000,
      intervalMs: 300,
    });
  });

  it('cannot give more than they have', async () => {
    const limited = await server.clientWith('keys:manage', 'jobs:read');
    await limited
      .post('/v1/api-keys')
      .send({ name: 'same', scopes: ['jobs:read'] })
      .expect(201);
    const refused = await limited
      .post('/v1/api-keys')
      .send({ name: 'more', scopes: ['admin'] })
      .expect(403);
    expect(refused.body.code).toBe('insufficient_scope');
  });
});

describe('the first start', () => {
  it('makes one tenant and one key, however often and however many at once', async () => {
    const { url, drop } = await createTestDatabase();
    const database = openDatabase({ url });
    try {
      const results = await Promise.all(Array.from({ length: 5 }, () => bootstrapInstallation(database)));
      expect(results.filter((result) => result.apiKey !== null)).toHaveLength(1);
      expect(new Set(results.map((result) => result.tenantId)).size).toBe(1);
      const given = 'a key that the operator made up';
      for (let start = 0; start < 2; start++) expect((await bootstrapInstallation(database, given)).apiKey).toBe(given);
      expect(await database.db.apiKey.count()).toBe(2);
      expect(JSON.stringify(await database.db.apiKey.findMany())).not.toContain(given);
      await expect(bootstrapInstallation(database, 'too short')).rejects.toMatchObject({ code: 'request_invalid' });
      await expect(bootstrapInstallation(database, `lathe_live_${'0'.repeat(12)}_${'0'.repeat(38)}`)).rejects.toMatchObject({
        code: 'request_invalid',
      });
    } finally {
      await database.close();
      await drop();
    }
  });
});

describe('limits', () => {
  it('count requests per key and answer 429 with Retry-After beyond', async () => {
    const spender = await server.clientWith('jobs:read');
    const first = await spender.get('/v1/limits').expect(200);
    expect(first.headers['ratelimit-policy']).toBe('"default";q=30;w=60');
    expect(first.headers.ratelimit).toMatch(/^"default";r=29;t=\d+$/);
    for (let request = 1; request < 30; request++) await spender.get('/v1/limits').expect(200);
    const refused = await spender.get('/v1/limits').expect(429);
    expect(refused.body.code).toBe('quota_exceeded');
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    await (await server.clientWith('jobs:read')).get('/v1/limits').expect(200);
  });

  it('refuse a JSON body of more than 1 MiB', async () => {
    const response = await server.client
      .post('/v1/jobs')
      .send({ model_id: 'x'.repeat(1_100_000) })
      .expect(413);
    expect(response.body.code).toBe('payload_too_large');
  });
});

describe('requests', () => {
  it('keep a harmless X-Request-Id and get one of ours otherwise', async () => {
    const kept = await server.anonymous.get('/livez').set('X-Request-Id', 'build-17.a_b').expect(200);
    expect(kept.headers['x-request-id']).toBe('build-17.a_b');
    const replaced = await server.anonymous.get('/v1/jobs').set('X-Request-Id', 'a b<script>').expect(401);
    expect(replaced.headers['x-request-id']).toMatch(/^req_/);
    expect(replaced.body.request_id).toBe(replaced.headers['x-request-id']);
  });

  it('that are not JSON are 400, of another type 415', async () => {
    const client = await server.clientWith('jobs:write');
    const broken = await client.post('/v1/jobs').set('Content-Type', 'application/json').send('{"model_id":').expect(400);
    expect(broken.body.code).toBe('request_invalid');
    const xml = await client.post('/v1/jobs').set('Content-Type', 'application/xml').send('<a/>').expect(415);
    expect(xml.body.code).toBe('unsupported_media_type');
  });
});

describe('probes', () => {
  it('say alive, ready with each check, and measure requests without naming anybody', async () => {
    await server.anonymous.get('/livez').expect(200, { status: 'ok' });
    const ready = await server.anonymous.get('/readyz').expect(200);
    const checks = { database: 'ok', queue: 'ok', storage: 'ok', disk: 'ok', event_loop: 'ok' };
    expect(ready.body).toEqual({ status: 'ok', state: 'ready', checks });
    const metrics = await server.anonymous.get('/metrics').expect(200);
    expect(metrics.text).toMatch(/http_request_duration_seconds_count\{process="api",route="\/v1\/limits",method="GET",status="200"\} \d+/);
    expect(metrics.text).not.toContain(server.tenantId);
  });
});
