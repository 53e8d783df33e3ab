import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { newId } from '#contracts';
import { recordPing, recordWebhookEvent, replayDelivery } from '#platform/db';
import { createRegistry } from '#platform/observability';
import { createJobQueue } from '#platform/queue';
import { startWebhookSender, type WebhookSender } from '../../../services/webhooks/deps.js';
import { JobWorld, newWebhookSecret } from '../../support/job-world.js';
import { patient } from '../../support/patient.js';
import { RecordingReceiver } from '../../support/recording-receiver.js';

describe('webhook deliveries', () => {
  let world: JobWorld;
  let receiver: RecordingReceiver;
  let sender: WebhookSender;
  const registry = createRegistry('webhooks');

  beforeAll(async () => {
    receiver = await RecordingReceiver.start();
    world = await JobWorld.open('postgres', {
      LATHE_EGRESS_ALLOW: `127.0.0.1:${receiver.port}`,
      LATHE_WEBHOOK_RETRY_SECONDS: '0,0.1,0.1,0.1',
      LATHE_WEBHOOK_TIMEOUT_MS: '500',
      LATHE_PUBLIC_URL: 'https://lathe.example/base/',
    });
    sender = await startWebhookSender(world.config, { registry, log: { info: () => undefined, warn: () => undefined } });
  });
  afterAll(async () => {
    await sender.close();
    await world.close();
    await receiver.close();
  });

  /** An endpoint of its own path that wants nothing but `ping`, so that the tests do not hear each other. */
  async function endpointAt(path: string, options: { format?: string; secrets?: string[]; events?: string[] } = {}) {
    return { ...(await world.createEndpoint(receiver.url(path), { events: ['ping'], ...options })), path };
  }
  const ping = (endpointId: string) => world.database.transaction((tx) => recordPing(tx, { tenantId: world.tenant, endpointId }));
  const delivery = (id: string) => world.database.db.webhookDelivery.findUniqueOrThrow({ where: { id } });
  const attemptsOf = (deliveryId: string) =>
    world.database.db.webhookAttempt.findMany({ where: { deliveryId }, orderBy: { number: 'asc' } });
  const endpoint = (id: string) => world.database.db.webhookEndpoint.findUniqueOrThrow({ where: { id } });
  const ended = (id: string, state: string) =>
    vi.waitFor(async () => expect((await delivery(id)).state).toBe(state), { timeout: 10_000, interval: 20 });

  it('is signed so that the independent implementation verifies exactly the bytes sent', async () => {
    const { id, secret, path } = await endpointAt('/signed');
    const { id: deliveryId, eventId } = await ping(id);
    await ended(deliveryId, 'succeeded');
    const [request] = receiver.requests(path);
    expect(receiver.verify(request, secret)).toMatchObject({ type: 'ping', data: { endpoint_id: id } });
    expect(request?.headers).toMatchObject({ 'webhook-id': eventId, 'content-type': 'application/json', 'user-agent': 'lathe-webhooks/1' });
    expect(() => receiver.verify(request, newWebhookSecret())).toThrow(/signature/i);
  });

  it('each attempt is counted by its outcome', async () => {
    const count = async (outcome: string) => {
      const text = await registry.metrics();
      return Number(new RegExp(`^webhook_attempts_total\\{outcome="${outcome}".* (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
    };
    const { id, path } = await endpointAt('/counted');
    receiver.answer(path, (response) => response.writeHead(receiver.requests(path).length === 1 ? 500 : 204).end());
    const before = { retry: await count('retry'), succeeded: await count('succeeded') };
    await ended((await ping(id)).id, 'succeeded');
    await vi.waitFor(async () => {
      expect({ retry: await count('retry'), succeeded: await count('succeeded') }).toEqual({
        retry: before.retry + 1,
        succeeded: before.succeeded + 1,
      });
    }, patient);
  });

  it('while a secret is rotated, receivers with the old and with the new one both verify', async () => {
    const secrets = [newWebhookSecret(), newWebhookSecret()];
    const { id, path } = await endpointAt('/rotating', { secrets });
    await ended((await ping(id)).id, 'succeeded');
    const [request] = receiver.requests(path);
    for (const secret of secrets) expect(receiver.verify(request, secret)).toMatchObject({ type: 'ping' });
  });

  it('an expired secret signs no more', async () => {
    const [current, old] = [newWebhookSecret(), newWebhookSecret()];
    const { id, path } = await endpointAt('/expired-secret');
    const secrets = [
      { secret: current, expires_at: null },
      { secret: old, expires_at: new Date(Date.now() - 1000).toISOString() },
    ];
    await world.database.db.webhookEndpoint.update({ where: { id }, data: { secrets } });
    await ended((await ping(id)).id, 'succeeded');
    const [request] = receiver.requests(path);
    expect(receiver.verify(request, current)).toBeTruthy();
    expect(() => receiver.verify(request, old)).toThrow(/signature/i);
  });

  it('cloudevents: the structured form, signed all the same', async () => {
    const { id, secret, path } = await endpointAt('/cloudevents', { format: 'cloudevents', events: ['model.created'] });
    const jobId = newId('job');
    const data = { job_id: jobId, job_url: `/v1/jobs/${jobId}` };
    const { tenant: tenantId } = world;
    const eventId = await world.database.transaction((tx) => recordWebhookEvent(tx, { tenantId, type: 'model.created', jobId, data }));
    await vi.waitFor(() => expect(receiver.requests(path)).toHaveLength(1), patient);
    const [request] = receiver.requests(path);
    expect(request?.headers['content-type']).toBe('application/cloudevents+json; charset=utf-8');
    expect(receiver.verify(request, secret)).toEqual({
      specversion: '1.0',
      id: eventId,
      source: `/tenants/${world.tenant}/jobs/${jobId}`,
      type: 'io.lathe.model.created.v1',
      subject: jobId,
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      datacontenttype: 'application/json',
      data: { job_id: jobId, job_url: `https://lathe.example/base/v1/jobs/${jobId}` },
    });
    expect((await endpoint(id)).failures).toBe(0);
  });

  it('fan-out reaches the subscribers of the type, the job’s own address at the end, and nobody else', async () => {
    const { tenant: tenantId } = world;
    const wanting = await endpointAt('/wanting', { events: ['job.failed'] });
    const other = await endpointAt('/other', { events: ['job.succeeded'] });
    const off = await endpointAt('/off', { events: ['*'] });
    await world.database.db.webhookEndpoint.update({ where: { id: off.id }, data: { enabled: false } });
    const jobWebhookUrl = receiver.url('/own');
    for (const type of ['job.started', 'job.failed'] as const) {
      await world.database.transaction((tx) => recordWebhookEvent(tx, { tenantId, type, jobId: newId('job'), data: {}, jobWebhookUrl }));
    }
    await vi.waitFor(() => expect(receiver.requests('/own')).toHaveLength(1), patient);
    await vi.waitFor(() => expect(receiver.requests(wanting.path)).toHaveLength(1), patient);
    expect(await world.database.db.webhookDelivery.count({ where: { endpointId: { in: [other.id, off.id] } } })).toBe(0);
    const { webhookSecret } = await world.database.db.tenant.findUniqueOrThrow({ where: { id: tenantId } });
    expect(receiver.verify(receiver.requests('/own')[0], webhookSecret)).toMatchObject({ type: 'job.failed' });
  });

  it('a rolled back fact sends nothing', async () => {
    const { path } = await endpointAt('/rolled-back', { events: ['model.created'] });
    const { tenant: tenantId } = world;
    const failing = world.database.transaction(async (tx) => {
      await recordWebhookEvent(tx, { tenantId, type: 'model.created', data: {} });
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect(await world.database.db.webhookDelivery.count({ where: { url: receiver.url(path) } })).toBe(0);
  });

  it('fails, waits, and succeeds later: every attempt is in the log with the same webhook-id', async () => {
    const { id, path, secret } = await endpointAt('/third-time');
    receiver.answer(path, (response) => {
      const status = receiver.requests(path).length < 3 ? 500 : 200;
      response.writeHead(status).end(`answer ${status}`);
    });
    const { id: deliveryId } = await ping(id);
    await ended(deliveryId, 'succeeded');
    expect(
      (await attemptsOf(deliveryId)).map(({ number, responseStatus, responseBody }) => [number, responseStatus, responseBody]),
    ).toEqual([
      [1, 500, 'answer 500'],
      [2, 500, 'answer 500'],
      [3, 200, 'answer 200'],
    ]);
    const requests = receiver.requests(path);
    expect(new Set(requests.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(requests.map(({ body }) => body)).size).toBe(1);
    for (const request of requests) receiver.verify(request, secret);
    expect(await endpoint(id)).toMatchObject({ failures: 0, failingSince: null, enabled: true });
  });

  it.each<[string, Parameters<RecordingReceiver['answer']>[1], { responseStatus: number | null; error: string | null }]>([
    ['never answers', () => undefined, { responseStatus: null, error: 'timeout' }],
    ['drips its head', (response) => void response.socket?.write('HTTP/1.1 200 OK\r\n'), { responseStatus: null, error: 'timeout' }],
    ['hangs up', (response) => void response.socket?.destroy(), { responseStatus: null, error: 'connect' }],
    [
      'redirects',
      (response) => void response.writeHead(302, { location: receiver.url('/stolen') }).end(),
      { responseStatus: 302, error: null },
    ],
    ['answers 404', (response) => void response.writeHead(404).end(), { responseStatus: 404, error: null }],
  ])('a receiver that %s has failed after the attempts of the schedule, and was called no further', async (name, answer, expected) => {
    const { id, path } = await endpointAt(`/bad/${encodeURIComponent(name)}`);
    receiver.answer(path, answer);
    const { id: deliveryId } = await ping(id);
    await ended(deliveryId, 'failed');
    const attempts = await attemptsOf(deliveryId);
    expect(attempts).toHaveLength(4);
    for (const attempt of attempts) {
      expect(attempt).toMatchObject(expected);
      expect(attempt.durationMs).toBeLessThan(1_500);
    }
    expect(receiver.requests('/stolen')).toEqual([]);
    expect(await endpoint(id)).toMatchObject({ failures: 4, enabled: true });
  });

  it.each<[string, Parameters<RecordingReceiver['answer']>[1]]>([
    ['10 MB at once', (response) => void response.writeHead(200).end(Buffer.alloc(10_000_000, 'x'))],
    [
      'a body without end',
      (response) => {
        response.writeHead(200);
        const timer = setInterval(() => response.write('x'.repeat(100)), 50);
        response.on('close', () => clearInterval(timer));
      },
    ],
    ['bytes that are no text', (response) => void response.writeHead(200).end(Buffer.from([0, 255, 0]))],
  ])('a receiver that answers 200 and %s has succeeded, and at most 4 KiB are kept', async (name, answer) => {
    const { id, path } = await endpointAt(`/large/${encodeURIComponent(name)}`);
    receiver.answer(path, answer);
    const { id: deliveryId } = await ping(id);
    await ended(deliveryId, 'succeeded');
    const [attempt] = await attemptsOf(deliveryId);
    expect(Buffer.byteLength(attempt?.responseBody ?? '')).toBeLessThanOrEqual(4096 + 8);
    expect(attempt?.durationMs).toBeLessThan(1_500);
  });

  it('410 switches the endpoint off at once, and says so to the others', async () => {
    const watcher = await endpointAt('/watcher', { events: ['webhook_endpoint.disabled'] });
    const { id, path } = await endpointAt('/gone', { events: ['ping', 'webhook_endpoint.disabled'] });
    receiver.answer(path, (response) => response.writeHead(410).end());
    const { id: deliveryId } = await ping(id);
    await ended(deliveryId, 'failed');
    expect(await attemptsOf(deliveryId)).toHaveLength(1);
    expect(await endpoint(id)).toMatchObject({ enabled: false, disabledReason: expect.stringContaining('410') });
    await vi.waitFor(() => expect(receiver.requests(watcher.path)).toHaveLength(1), patient);
    expect(receiver.verify(receiver.requests(watcher.path)[0], watcher.secret)).toMatchObject({ data: { endpoint_id: id } });
    expect(receiver.requests(path)).toHaveLength(1);
  });

  it('an endpoint that has only failed for days and often is switched off; one that failed for days but seldom is not', async () => {
    const since = new Date(Date.now() - 6 * 24 * 3600 * 1000);
    const often = await endpointAt('/often');
    const seldom = await endpointAt('/seldom');
    for (const { id, path, failures } of [
      { ...often, failures: 19 },
      { ...seldom, failures: 5 },
    ]) {
      receiver.answer(path, (response) => response.writeHead(500).end());
      await world.database.db.webhookEndpoint.update({ where: { id }, data: { failures, failingSince: since } });
      await ended((await ping(id)).id, 'failed');
    }
    expect((await endpoint(often.id)).enabled).toBe(false);
    expect((await endpoint(seldom.id)).enabled).toBe(true);
  });

  it('Retry-After of a busy receiver is honoured', async () => {
    const { id, path } = await endpointAt('/busy');
    receiver.answer(path, (response) => {
      if (receiver.requests(path).length === 1) response.writeHead(429, { 'retry-after': '1' }).end();
      else response.writeHead(200).end();
    });
    const { id: deliveryId } = await ping(id);
    await ended(deliveryId, 'succeeded');
    const [first, second] = receiver.requests(path);
    expect((second?.receivedAt ?? 0) - (first?.receivedAt ?? 0)).toBeGreaterThanOrEqual(980);
  });

  it('one address gets two calls at a time, and the others are served meanwhile', async () => {
    const slow = await endpointAt('/slow');
    const quick = await endpointAt('/quick');
    receiver.answer(slow.path, (response) => void setTimeout(() => response.writeHead(200).end(), 300));
    const slowOnes = await Promise.all(Array.from({ length: 8 }, () => ping(slow.id)));
    const { id: quickOne } = await ping(quick.id);
    await ended(quickOne, 'succeeded');
    expect((await Promise.all(slowOnes.map(({ id }) => delivery(id)))).filter(({ state }) => state === 'pending').length).toBeGreaterThan(
      4,
    );
    for (const { id } of slowOnes) await ended(id, 'succeeded');
    expect(receiver.busy.get(slow.path)?.max).toBe(2);
    expect(receiver.requests(slow.path)).toHaveLength(8);
  });

  it('ten copies of one message make one attempt', async () => {
    const { id, path } = await endpointAt('/copies');
    const { id: deliveryId } = await ping(id);
    const queue = createJobQueue(world.config);
    const payload = { delivery_id: deliveryId, tenant_id: world.tenant, attempt: 1 };
    await Promise.all(
      Array.from({ length: 10 }, (_, copy) => queue.enqueue('webhook.attempt', payload, { id: `${deliveryId}-copy-${copy}` })),
    );
    await ended(deliveryId, 'succeeded');
    await queue.close();
    expect(receiver.requests(path)).toHaveLength(1);
    expect(await attemptsOf(deliveryId)).toHaveLength(1);
  });

  it('a replay is a delivery of its own that carries the same event', async () => {
    const { id, path } = await endpointAt('/replayed');
    const first = await ping(id);
    await ended(first.id, 'succeeded');
    const second = await world.database.transaction((tx) => replayDelivery(tx, { tenantId: world.tenant, deliveryId: first.id }));
    await ended(second.id, 'succeeded');
    expect(second).toMatchObject({ replayOf: first.id, eventId: first.eventId });
    const [a, b] = receiver.requests(path);
    expect(b?.body).toBe(a?.body);
    expect(b?.headers['webhook-id']).toBe(a?.headers['webhook-id']);
  });

  it('another tenant can neither ping nor replay', async () => {
    const { id } = await endpointAt('/mine');
    const mine = await ping(id);
    const tenantId = newId('tenant');
    await expect(world.database.transaction((tx) => recordPing(tx, { tenantId, endpointId: id }))).rejects.toMatchObject({
      code: 'not_found',
    });
    await expect(world.database.transaction((tx) => replayDelivery(tx, { tenantId, deliveryId: mine.id }))).rejects.toMatchObject({
      code: 'not_found',
    });
  });

  it.each([
    'http://127.0.0.1:1/',
    'https://169.254.169.254/latest',
    'https://[::ffff:10.0.0.1]/',
    'http://example.com/',
    'https://localhost:9/',
  ])('an address that may not be called (%s) is refused at each attempt', async (url) => {
    const { id } = await world.createEndpoint(url, { events: ['ping'] });
    const { id: deliveryId } = await ping(id);
    await ended(deliveryId, 'failed');
    for (const attempt of await attemptsOf(deliveryId)) expect(attempt).toMatchObject({ responseStatus: null, error: 'egress_refused' });
  });
});
