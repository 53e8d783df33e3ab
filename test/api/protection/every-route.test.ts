/** Guarantees that hold on every route, checked over the table of all routes: scopes, tenancy, error form. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId, resourcePrefixes } from '#contracts';
import { Prisma } from '#platform/db';
import { type ApiServer, startApiServer, uploadedModel } from '../../support/api-server.js';

let server: ApiServer;
/** Ids of rows of the first tenant, by the parameter they stand for. */
let ids: Record<string, string>;

beforeAll(async () => {
  server = await startApiServer({ LATHE_EGRESS_ALLOW: '127.0.0.0/8' });
  const { client, database, tenantId } = server;
  const model = await uploadedModel(client);
  const job = (await client.post('/v1/jobs').send({ model_id: model, recipe: 'clean-up' }).expect(202)).body.id;
  const endpoint = (await client.post('/v1/webhook-endpoints').send({ url: 'http://127.0.0.1:1/' }).expect(201)).body.id;
  const delivery = (await client.post(`/v1/webhook-endpoints/${endpoint}/ping`).expect(202)).body.id;
  const key = (
    await client
      .post('/v1/api-keys')
      .send({ name: 'k', scopes: ['jobs:read'] })
      .expect(201)
  ).body.id;
  const dataset = newId('dataset');
  await database.db.dataset.create({
    data: { id: dataset, tenantId, name: 'd', sha256: 'a'.repeat(64), bytes: 1n, format: 'npz', sampleCount: 1, arrays: [] },
  });
  const artifact = newId('artifact');
  await database.db.artifact.create({
    data: {
      id: artifact,
      tenantId,
      jobId: job,
      name: 'model.onnx',
      role: 'model',
      mediaType: 'application/octet-stream',
      sha256: 'a'.repeat(64),
      bytes: 1n,
    },
  });
  ids = {
    models: model,
    jobs: job,
    'webhook-endpoints': endpoint,
    delivery_id: delivery,
    'api-keys': key,
    datasets: dataset,
    artifacts: artifact,
  };
});
afterAll(() => server.close());

/** Routes of the product, without the documentation UI's files. */
function routes() {
  return server.app.routeTable.filter(
    ({ method, url }) => method !== 'HEAD' && method !== 'OPTIONS' && !url.startsWith('/docs') && url !== '/',
  );
}

function concrete(url: string): string {
  const collection = /^\/v1\/([^/]+)/.exec(url)?.[1] ?? '';
  return url
    .replace(':id', ids[collection] ?? 'x')
    .replace(':delivery_id', ids.delivery_id ?? 'x')
    .replace(':code', 'not_found');
}

const send = (agent: ApiServer['client'], method: string, path: string) => {
  const request = agent[method.toLowerCase() as 'get' | 'post' | 'patch' | 'delete'](path);
  return method === 'PATCH' ? request.send({ description: 'x' }) : request;
};

describe('every route', () => {
  it('has a scope, and only these are public', () => {
    expect(routes().filter((route) => route.scope === undefined)).toEqual([]);
    const open = routes()
      .filter((route) => route.scope === 'public')
      .map((route) => route.url);
    expect(open.sort()).toEqual(['/livez', '/metrics', '/openapi.json', '/problems/:code', '/readyz']);
  });

  it('answers 401 problem+json to nobody and to a wrong key, unless it is public', async () => {
    for (const { method, url, scope } of routes()) {
      if (scope === 'public') continue;
      const response = await send(server.anonymous, method, concrete(url));
      expect([method, url, response.status]).toEqual([method, url, 401]);
      expect(response.type).toBe('application/problem+json');
      expect(response.headers['www-authenticate']).toMatch(/^Bearer/);
    }
    await server.anonymous
      .get('/v1/jobs')
      .set('Authorization', `Bearer ${server.key.slice(0, -1)}`)
      .expect(401);
  });

  it('answers 403 to a key without its scope', async () => {
    const powerless = await server.clientWith('models:read');
    const other = await server.clientWith('jobs:read');
    for (const { method, url, scope } of routes()) {
      if (scope === 'public' || scope === 'any') continue;
      const response = await send(scope === 'models:read' ? other : powerless, method, concrete(url));
      expect([method, url, response.status, response.body.code]).toEqual([method, url, 403, 'insufficient_scope']);
      expect(response.headers['www-authenticate']).toContain(`scope="${scope}"`);
    }
  });

  it("answers 404 to another tenant's ids, and changes nothing", async () => {
    const before = await snapshot();
    const withIds = routes().filter(({ url }) => url.includes(':id'));
    expect(withIds.length).toBeGreaterThan(15);
    for (const { method, url } of withIds) {
      const response = await send(server.stranger, method, concrete(url));
      expect([method, url, response.status, response.body.code]).toEqual([method, url, 404, 'not_found']);
    }
    expect(await snapshot()).toEqual(before);
  });

  it("refuses to build a job on another tenant's model or data", async () => {
    const own = await uploadedModel(server.stranger);
    const onModel = await server.stranger.post('/v1/jobs').send({ model_id: ids.models, recipe: 'clean-up' }).expect(404);
    expect(onModel.body.errors[0].pointer).toBe('/model_id');
    const data = { calibration_id: ids.datasets, evaluation_id: ids.datasets };
    const onData = await server.stranger.post('/v1/jobs').send({ model_id: own, recipe: 'clean-up', data }).expect(404);
    expect(onData.body.errors.map((error: { pointer: string }) => error.pointer)).toEqual(['/data/calibration_id', '/data/evaluation_id']);
  });

  it("lists nothing of another tenant's", async () => {
    const visitor = await server.clientWith('admin');
    await visitor.get('/v1/jobs').expect(200);
    for (const list of ['/v1/jobs', '/v1/datasets', '/v1/webhook-endpoints']) {
      expect((await server.stranger.get(list).expect(200)).body.data).toEqual([]);
    }
  });

  it('answers 404 for an id that never was', async () => {
    for (const { method, url } of routes().filter((route) => /:id$/.test(route.url))) {
      const path = url.replace(':id', `${resourcePrefixes.job}_00000000000000000000000000`);
      expect([method, url, (await send(server.client, method, path)).status]).toEqual([method, url, 404]);
    }
  });

  it('has a wide problem for what does not exist: 404 unknown address, 405 with Allow, 400 malformed address', async () => {
    const missing = await server.client.get('/v1/nothing').expect(404);
    expect(missing.body).toMatchObject({
      type: '/problems/not_found',
      status: 404,
      code: 'not_found',
      instance: '/v1/nothing',
      retryable: false,
    });
    const wrong = await server.client.put('/v1/jobs').expect(405);
    expect(wrong.headers.allow).toBe('GET, HEAD, POST');
    const malformed = await fetch(`${server.url}/v1/jobs/%zz`, { headers: { authorization: `Bearer ${server.key}` } });
    expect([malformed.status, malformed.headers.get('content-type')]).toEqual([400, 'application/problem+json']);
  });
});

async function snapshot(): Promise<unknown> {
  const tables = ['model', 'dataset', 'job', 'job_event', 'artifact', 'webhook_endpoint', 'webhook_delivery', 'api_key', 'outbox'];
  const rows = tables.map(
    (table) =>
      Prisma.sql`SELECT ${table} AS name, count(*)::int AS rows, md5(coalesce(string_agg(t::text, ',' ORDER BY t::text), '')) AS content FROM ${Prisma.raw(table)} t WHERE tenant_id = ${server.tenantId}`,
  );
  // The key's last_used_at belongs to its owner's requests.
  await server.database.db.apiKey.updateMany({ data: { lastUsedAt: null } });
  return Promise.all(rows.map((query) => server.database.db.$queryRaw(query)));
}
