/** POST /v1/jobs: what is stored, once; what is refused, and where the fault is. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ApiServer, startApiServer, uploadedModel } from '../../support/api-server.js';

let server: ApiServer;
let model: string;
beforeAll(async () => {
  server = await startApiServer({ LATHE_EGRESS_ALLOW: '127.0.0.0/8' });
  model = await uploadedModel(server.client);
});
afterAll(() => server.close());

const post = (body: unknown, query = '') => server.client.post(`/v1/jobs${query}`).send(body as object);
const request = () => ({ model_id: model, recipe: 'dynamic-int8' });

describe('202', () => {
  it('stores the job, its first event and the wake-up together, and says where to look', async () => {
    const body = { ...request(), metadata: { git_sha: 'abc' }, priority: 3, timeout_seconds: 60, deadline_seconds: 600 };
    const response = await post(body).expect(202);
    const { id } = response.body;
    expect(response.headers.location).toBe(`/v1/jobs/${id}`);
    expect(response.headers['retry-after']).toBe('2');
    expect(response.body).toMatchObject({
      state: 'queued',
      priority: 3,
      timeout_seconds: 60,
      metadata: { git_sha: 'abc' },
      recipe: { steps: [{ method: 'dynamic-int8' }] },
    });
    expect(new Date(response.body.deadline_at).getTime() - new Date(response.body.created_at).getTime()).toBe(600_000);
    const { db } = server.database;
    expect(await db.outbox.findMany({ where: { messageId: `${id}-0` } })).toMatchObject([
      { queue: 'compression.run', priority: 3, payload: { job_id: id, tenant_id: server.tenantId, epoch: 0 } },
    ]);
    expect(await db.jobEvent.findMany({ where: { jobId: id } })).toMatchObject([{ sequence: 1, type: 'job.queued' }]);
    const read = await server.client.get(`/v1/jobs/${id}`).expect(200);
    expect(read.body).toEqual(response.body);
  });

  it('tells every endpoint that subscribed to job.queued, once', async () => {
    const url = 'http://127.0.0.1:1/hook';
    const { body: endpoint } = await server.client
      .post('/v1/webhook-endpoints')
      .send({ url, events: ['job.queued'] })
      .expect(201);
    await server.client
      .post('/v1/webhook-endpoints')
      .send({ url, events: ['job.failed'] })
      .expect(201);
    const { body: job } = await post({ ...request(), metadata: { a: 'b' } }).expect(202);
    const events = await server.database.db.webhookEvent.findMany({ where: { jobId: job.id } });
    expect(events).toMatchObject([{ type: 'job.queued', data: { job_id: job.id, state: 'queued', sequence: 1, metadata: { a: 'b' } } }]);
    const deliveries = await server.database.db.webhookDelivery.findMany({ where: { eventId: events[0]?.id ?? '' } });
    expect(deliveries.map((delivery) => delivery.endpointId)).toEqual([endpoint.id]);
  });

  it('holds the answer as long as Prefer: wait says, and answers 202 when the job has not ended', async () => {
    const startedAt = performance.now();
    const response = await post(request()).set('Prefer', 'wait=1').expect(202);
    expect(performance.now() - startedAt).toBeGreaterThan(950);
    expect(response.headers['preference-applied']).toBe('wait=1');
  });

  it('answers 201 as soon as the job ends within Prefer: wait', async () => {
    const waiting = post({ ...request(), metadata: { who: 'waits' } })
      .set('Prefer', 'wait=20')
      .then((response) => response);
    const { db } = server.database;
    let id: string | undefined;
    while (id === undefined) id = (await db.job.findFirst({ where: { metadata: { path: ['who'], equals: 'waits' } } }))?.id;
    await server.client.post(`/v1/jobs/${id}/cancel`).expect(202);
    const response = await waiting;
    expect([response.status, response.body.state]).toEqual([201, 'canceled']);
  });
});

describe('200', () => {
  it('checks a request and stores nothing with validate_only', async () => {
    const before = await server.database.db.job.count();
    const response = await post(request(), '?validate_only=true').expect(200);
    expect(response.body).toMatchObject({ valid: true, recipe: { steps: [{ method: 'dynamic-int8' }] } });
    await post({ ...request(), model_id: 'mdl_0' }, '?validate_only=true').expect(404);
    expect(await server.database.db.job.count()).toBe(before);
  });
});

describe('400', () => {
  it.each([
    ['an unknown field', () => ({ ...request(), bogus: 1 }), '/bogus', 'unknown_field'],
    [
      'an unknown field in a step',
      () => ({ model_id: model, recipe: { steps: [{ method: 'dynamic-int8', bogus: 1 }] } }),
      '/recipe/steps/0/bogus',
      'unknown_field',
    ],
    ['an unknown method', () => ({ model_id: model, recipe: { steps: [{ method: 'magic' }] } }), '/recipe/steps/0/method', 'enum'],
    [
      'an unknown loss',
      () => ({ model_id: model, recipe: { steps: [{ method: 'distill', losses: [{ kind: 'kd' }, { kind: 'kl' }] }] } }),
      '/recipe/steps/0/losses/1/kind',
      'enum',
    ],
    [
      'an augmentation out of bounds',
      () => ({ model_id: model, recipe: { steps: [{ method: 'train', augmentation: [{ name: 'mixup', alpha: 9 }] }] } }),
      '/recipe/steps/0/augmentation/0/alpha',
      'maximum',
    ],
    ['an unknown preset', () => ({ model_id: model, recipe: 'magic' }), '/recipe', 'enum'],
    ['no recipe', () => ({ model_id: model }), '/recipe', 'required'],
    ['no steps', () => ({ model_id: model, recipe: { steps: [] } }), '/recipe/steps', 'minItems'],
    ['a number as text', () => ({ ...request(), priority: '3' }), '/priority', 'type'],
    ['a field name that needs escaping', () => ({ ...request(), 'a/b~c': 1 }), '/a~1b~0c', 'unknown_field'],
    ['metadata that is not text', () => ({ ...request(), metadata: { a: 1 } }), '/metadata/a', 'type'],
    ['an unknown field of data', () => ({ ...request(), data: { labels: 'x' } }), '/data/labels', 'unknown_field'],
  ])('names the place of %s, and nothing else', async (_what, body, pointer, code) => {
    const response = await post(body()).expect(400);
    expect(response.body.errors.map((error: { pointer: string; code: string }) => [error.pointer, error.code])).toEqual([[pointer, code]]);
  });

  it('names every fault at once', async () => {
    const response = await post({ recipe: 5, bogus: 1 }).expect(400);
    expect(response.body.errors.map((error: { pointer: string }) => error.pointer).sort()).toEqual(['/bogus', '/model_id', '/recipe']);
  });
});

describe('422', () => {
  it('refuses a recovery that learns from labels and that no metric judges', async () => {
    const recovery = { losses: [{ kind: 'mse' }] };
    const response = await post({ model_id: model, recipe: { steps: [{ method: 'precision-lowering', recovery }] } }).expect(422);
    expect(response.body.errors).toContainEqual(
      expect.objectContaining({ pointer: '/recipe/steps/0/recovery/losses', code: 'needs_gate' }),
    );
  });

  it('refuses a gate on a task metric without labels', async () => {
    const response = await post({ model_id: model, recipe: { steps: [{ method: 'clean-up' }], gate: { max_metric_drop: 0.01 } } }).expect(
      422,
    );
    expect(response.body).toMatchObject({ code: 'recipe_invalid', errors: [{ pointer: '/recipe/gate/max_metric_drop' }] });
  });

  it.each(['http://10.0.0.1/', 'https://192.168.1.1/', 'ftp://example.com/', 'https://user:pass@example.com/', 'not a url'])(
    'refuses to promise a call to %s',
    async (url) => {
      const response = await post({ ...request(), webhook_url: url }).expect(422);
      expect(response.body.code).toBe('egress_refused');
    },
  );
});

describe('Idempotency-Key', () => {
  it('makes one job of 100 concurrent requests, and answers the rest with it or with 409', async () => {
    const send = () =>
      server.client
        .post('/v1/jobs')
        .set('Idempotency-Key', 'once')
        .send({ ...request(), metadata: { test: 'once' } });
    const responses = await Promise.all(Array.from({ length: 100 }, send));
    const accepted = responses.filter((response) => response.status === 202);
    const inFlight = responses.filter((response) => response.status === 409);
    expect(accepted.length + inFlight.length).toBe(100);
    expect(new Set(accepted.map((response) => response.body.id)).size).toBe(1);
    for (const response of inFlight) expect([response.body.code, response.headers['retry-after']]).toEqual(['idempotency_in_flight', '1']);
    expect(accepted.filter((response) => response.headers['idempotent-replayed'] === undefined)).toHaveLength(1);
    expect(await server.database.db.job.count({ where: { metadata: { path: ['test'], equals: 'once' } } })).toBe(1);
  });

  it('replays the first answer, whatever the order of the fields', async () => {
    const first = await server.client
      .post('/v1/jobs')
      .set('Idempotency-Key', '"again"')
      .send({ model_id: model, recipe: 'clean-up' })
      .expect(202);
    const second = await server.client
      .post('/v1/jobs')
      .set('Idempotency-Key', 'again')
      .send({ recipe: 'clean-up', model_id: model })
      .expect(202);
    expect(second.body).toEqual(first.body);
    expect(second.headers['idempotent-replayed']).toBe('true');
    expect(second.headers.location).toBe(first.headers.location);
  });

  it('is refused for another request, and belongs to its tenant', async () => {
    await server.client.post('/v1/jobs').set('Idempotency-Key', 'mine').send({ model_id: model, recipe: 'clean-up' }).expect(202);
    const other = await server.client
      .post('/v1/jobs')
      .set('Idempotency-Key', 'mine')
      .send({ model_id: model, recipe: 'dynamic-int8' })
      .expect(422);
    expect(other.body.code).toBe('idempotency_mismatch');
    const theirs = await uploadedModel(server.stranger);
    await server.stranger.post('/v1/jobs').set('Idempotency-Key', 'mine').send({ model_id: theirs, recipe: 'clean-up' }).expect(202);
  });

  it('is not used up by a request that was refused, and can be used again after a day', async () => {
    await server.client.post('/v1/jobs').set('Idempotency-Key', 'retry').send({ model_id: 'mdl_0', recipe: 'clean-up' }).expect(404);
    const first = await server.client
      .post('/v1/jobs')
      .set('Idempotency-Key', 'retry')
      .send({ model_id: model, recipe: 'clean-up' })
      .expect(202);
    await server.database.db.idempotencyKey.updateMany({ where: { key: 'retry' }, data: { expiresAt: new Date(Date.now() - 1) } });
    const later = await server.client
      .post('/v1/jobs')
      .set('Idempotency-Key', 'retry')
      .send({ model_id: model, recipe: 'dynamic-int8' })
      .expect(202);
    expect(later.body.id).not.toBe(first.body.id);
  });
});

describe('a model that is being deleted', () => {
  it('either has the job or is gone: never a job without its model', async () => {
    for (let round = 0; round < 10; round++) {
      const id = await uploadedModel(server.client);
      const [created, removed] = await Promise.all([post({ model_id: id, recipe: 'clean-up' }), server.client.delete(`/v1/models/${id}`)]);
      expect([
        [202, 409],
        [404, 204],
      ]).toContainEqual([created.status, removed.status]);
    }
  });
});
