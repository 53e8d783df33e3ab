import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { AppError, newId } from '#contracts';
import { appendOutbox, jobRepairRepository, listen, type NotificationListener, recordPing, webhookAttemptEntry } from '#platform/db';
import { type OutboxRelay, startOutboxRelay } from '#platform/outbox';
import { JobWorld } from '../../../support/job-world.js';
import { patient } from '../../../support/patient.js';

describe('the outbox relay', () => {
  let world: JobWorld;
  let sent: { id: string; at: number }[] = [];
  let down = false;
  let refusals = 0;
  const relays: OutboxRelay[] = [];
  let listener: NotificationListener | undefined;
  const queue = {
    enqueue: async (_name: string, _payload: unknown, { id }: { id: string }) => {
      if (down) {
        refusals += 1;
        throw new AppError('queue_unavailable', 'down');
      }
      sent.push({ id, at: Date.now() });
    },
  };

  beforeAll(async () => {
    world = await JobWorld.open();
  });
  afterEach(async () => {
    await listener?.close();
    await Promise.all(relays.splice(0).map((relay) => relay.close()));
    sent = [];
    down = false;
  });
  afterAll(() => world.close());

  function startRelay(pollMs: number): OutboxRelay {
    const relay = startOutboxRelay({ database: world.database, queue, name: 'webhook.attempt', pollMs, onError: () => undefined });
    relays.push(relay);
    return relay;
  }
  const append = (count: number, availableAt?: Date) =>
    world.database.transaction(async (tx) => {
      const ids: string[] = [];
      for (let i = 0; i < count; i++) {
        const entry = webhookAttemptEntry({ tenantId: world.tenant, id: newId('delivery'), attempt: 1 });
        await appendOutbox(tx, { ...entry, ...(availableAt === undefined ? {} : { availableAt }) });
        ids.push(entry.messageId);
      }
      return ids;
    });
  const left = () => world.database.db.outbox.count();
  const emptied = () => vi.waitFor(async () => expect(await left()).toBe(0), { timeout: 10_000 });

  it('sends every row once, though several relays serve one queue', async () => {
    const ids = await append(250);
    for (let i = 0; i < 3; i++) startRelay(50);
    await emptied();
    expect(sent.map(({ id }) => id).sort()).toEqual(ids.sort());
  });

  it('is woken when the transaction commits, long before it would look by itself', async () => {
    const relay = startRelay(60_000);
    listener = await listen({ url: world.config.databaseUrl, channels: ['outbox'], onNotification: () => relay.wake() });
    await append(1);
    await emptied();
    expect(sent).toHaveLength(1);
  });

  it('a row that is due later is sent then, not before', async () => {
    startRelay(60_000);
    const due = new Date(Date.now() + 400);
    await append(1, due);
    relays[0]?.wake();
    await emptied();
    expect(sent[0]?.at).toBeGreaterThanOrEqual(due.getTime() - 1);
  });

  it('keeps what the queue does not take, and sends it when the queue is back', async () => {
    down = true;
    const ids = await append(3);
    startRelay(50);
    await vi.waitFor(() => expect(refusals).toBeGreaterThan(3), patient);
    expect(await left()).toBe(3);
    down = false;
    await emptied();
    expect(sent.map(({ id }) => id).sort()).toEqual(ids.sort());
  });

  it('a delivery whose message was lost gets another one', async () => {
    const endpoint = await world.createEndpoint('https://receiver.example/', { events: [] });
    const delivery = await world.database.transaction((tx) => recordPing(tx, { tenantId: world.tenant, endpointId: endpoint.id }));
    await world.database.db.outbox.deleteMany();
    const repairs = jobRepairRepository(world.database);
    expect(await repairs.repairDeliveries({ silentMs: 60_000 })).toBe(0);
    expect(await repairs.repairDeliveries({ silentMs: -1_000 })).toBe(1);
    expect(await repairs.repairDeliveries({ silentMs: -1_000 })).toBe(0);
    startRelay(50);
    await emptied();
    expect(sent.map(({ id }) => id)).toEqual([`${delivery.id}-1`]);
  });
});
