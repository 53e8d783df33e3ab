/** /v1/webhook-endpoints: secrets shown once, addresses checked, deliveries on record and repeatable. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '#contracts';
import { type ApiServer, startApiServer } from '../../support/api-server.js';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({ LATHE_EGRESS_ALLOW: '127.0.0.0/8' });
});
afterAll(() => server.close());

const url = 'http://127.0.0.1:1/hook';
const create = async (fields: object = {}) =>
  (
    await server.client
      .post('/v1/webhook-endpoints')
      .send({ url, ...fields })
      .expect(201)
  ).body;

describe('endpoints', () => {
  it('show their secret when they are made, and only its end later', async () => {
    const made = await create({ events: ['job.succeeded'], description: 'ci' });
    expect(made.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const read = (await server.client.get(`/v1/webhook-endpoints/${made.id}`).expect(200)).body;
    const { secret, ...rest } = made;
    expect(read).toEqual(rest);
    expect(secret.endsWith(read.secret_hint)).toBe(true);
  });

  it('change only in what is named; enabling forgets failures', async () => {
    const { id } = await create({ description: 'before' });
    await server.database.db.webhookEndpoint.update({
      where: { id },
      data: { enabled: false, disabledReason: 'gone', failures: 9, failingSince: new Date() },
    });
    const changed = (await server.client.patch(`/v1/webhook-endpoints/${id}`).send({ enabled: true }).expect(200)).body;
    expect(changed).toMatchObject({ enabled: true, disabled_reason: null, failing_since: null, description: 'before', url });
    await server.client.patch(`/v1/webhook-endpoints/${id}`).send({}).expect(400);
    await server.client.patch(`/v1/webhook-endpoints/${id}`).send({ secret: 'mine' }).expect(400);
  });

  it('refuse private addresses when made and when changed', async () => {
    const { id } = await create();
    for (const bad of ['http://10.0.0.1/', 'https://169.254.169.254/latest', 'https://[::1]/', 'http://example.com/']) {
      expect((await server.client.post('/v1/webhook-endpoints').send({ url: bad }).expect(422)).body.code).toBe('egress_refused');
      await server.client.patch(`/v1/webhook-endpoints/${id}`).send({ url: bad }).expect(422);
    }
    expect(
      (
        await server.client
          .post('/v1/webhook-endpoints')
          .send({ url, events: ['job.exploded'] })
          .expect(400)
      ).body.errors[0].pointer,
    ).toBe('/events/0');
  });

  it('rotate their secret; the one before signs too until the overlap ends', async () => {
    const made = await create();
    const rotated = (await server.client.post(`/v1/webhook-endpoints/${made.id}/rotate-secret`).send({ overlap_seconds: 60 }).expect(200))
      .body;
    expect(rotated.secret).not.toBe(made.secret);
    const row = await server.database.db.webhookEndpoint.findUniqueOrThrow({ where: { id: made.id } });
    expect(row.secrets).toMatchObject([{ secret: rotated.secret, expires_at: null }, { secret: made.secret }]);
    const until = new Date((row.secrets as { expires_at: string }[])[1]?.expires_at ?? 0).getTime();
    expect(Math.abs(until - Date.now() - 60_000)).toBeLessThan(20_000);
    await server.client.post(`/v1/webhook-endpoints/${made.id}/rotate-secret`).expect(200);
  });

  it('are gone after DELETE', async () => {
    const { id } = await create();
    await server.client.delete(`/v1/webhook-endpoints/${id}`).expect(204);
    await server.client.get(`/v1/webhook-endpoints/${id}`).expect(404);
    await server.client.post(`/v1/webhook-endpoints/${id}/ping`).expect(404);
  });
});

describe('deliveries', () => {
  it('of a ping are queued, listed with their state, and shown with their attempts', async () => {
    const { id } = await create();
    const ping = await server.client.post(`/v1/webhook-endpoints/${id}/ping`).expect(202);
    expect(ping.body).toMatchObject({ event_type: 'ping', endpoint_id: id, state: 'pending', attempts: 0 });
    expect(await server.database.db.outbox.count({ where: { messageId: `${ping.body.id}-1`, queue: 'webhook.attempt' } })).toBe(1);
    const { db } = server.database;
    await db.webhookAttempt.create({
      data: {
        id: newId('attempt'),
        tenantId: server.tenantId,
        deliveryId: ping.body.id,
        number: 1,
        startedAt: new Date(),
        durationMs: 12,
        responseStatus: 500,
        responseBody: 'no',
      },
    });
    await db.webhookDelivery.update({ where: { id: ping.body.id }, data: { state: 'failed', attempts: 1, finishedAt: new Date() } });
    const read = (await server.client.get(ping.headers.location ?? '').expect(200)).body;
    expect(read).toMatchObject({ state: 'failed', attempt_list: [{ number: 1, response_status: 500, response_body: 'no', error: null }] });
    const list = async (state: string) =>
      (await server.client.get(`/v1/webhook-endpoints/${id}/deliveries?state=${state}`).expect(200)).body.data.length;
    expect([await list('failed'), await list('pending')]).toEqual([1, 0]);
  });

  it('can be repeated as new deliveries of the same event', async () => {
    const { id } = await create();
    const ping = (await server.client.post(`/v1/webhook-endpoints/${id}/ping`).expect(202)).body;
    const replay = (await server.client.post(`/v1/webhook-endpoints/${id}/deliveries/${ping.id}/replay`).expect(202)).body;
    expect(replay).toMatchObject({ event_id: ping.event_id, replay_of: ping.id, state: 'pending' });
    const other = await create();
    await server.client.post(`/v1/webhook-endpoints/${other.id}/deliveries/${ping.id}/replay`).expect(404);
  });
});
