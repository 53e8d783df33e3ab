import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { AppError } from '#contracts';
import { createJobConsumer, createJobQueue, type Delivery, type JobConsumer, type JobHandlers, type JobQueue } from '#platform/queue';
import { FaultProxy } from '../support/fault-proxy.js';
import { createTestDatabase, type TestDatabase } from '../support/test-database.js';

const redisServer = process.env.LATHE_TEST_REDIS_URL ?? 'redis://127.0.0.1:6379';
const redisAnswers = await new Promise<boolean>((resolve) => {
  const { hostname, port } = new URL(redisServer);
  const socket = net.connect({ host: hostname, port: Number(port || 6379) }, () => resolve(socket.destroy() !== undefined));
  socket.on('error', () => resolve(false));
});

type Run = Delivery<'compression.run'>;
const someId = () => randomBytes(6).toString('hex');
const payload = (epoch = 0) => ({ job_id: `job_${someId()}`, tenant_id: `ten_${someId()}`, epoch });

for (const backend of ['postgres', 'redis'] as const) {
  describe.skipIf(backend === 'redis' && !redisAnswers)(`job queue on ${backend}`, () => {
    let database: TestDatabase;
    let config: Parameters<typeof createJobConsumer>[0];
    let queue: JobQueue;
    const consumers: JobConsumer[] = [];
    const children: ChildProcess[] = [];

    beforeAll(async () => {
      database = await createTestDatabase();
    });
    afterAll(() => database.drop());
    beforeEach(() => {
      const redis = backend === 'redis' ? { redisUrl: redisServer } : {};
      config = { databaseUrl: database.url, queue: { ...redis, prefix: `lathe-test-${someId()}`, lockMs: 2_000, stalledMs: 500 } };
      queue = createJobQueue(config);
    });
    afterEach(async () => {
      for (const child of children.splice(0)) child.kill('SIGKILL');
      await Promise.all(consumers.splice(0).map((consumer) => consumer.close()));
      await queue.close();
      await removeMessages();
    });

    async function removeMessages() {
      if (backend === 'redis') {
        const redis = new Redis(redisServer);
        const keys = await redis.keys(`${config.queue.prefix}:*`);
        if (keys.length > 0) await redis.del(keys);
        redis.disconnect();
      } else {
        const pg = await import('pg');
        const client = new pg.default.Client({ connectionString: database.url });
        await client.connect();
        await client.query('DELETE FROM bullmq.job');
        await client.end();
      }
    }

    async function consume(handlers: JobHandlers, concurrency = 1): Promise<JobConsumer> {
      const consumer = createJobConsumer(config);
      consumers.push(consumer);
      await consumer.start({ queues: Object.keys(handlers) as never, handlers, concurrency, onError: () => undefined });
      return consumer;
    }

    async function consumerProcess(hang: boolean): Promise<{ child: ChildProcess; lines: string[] }> {
      const { redisUrl, prefix } = config.queue;
      const program = 'test/support/programs/queue-consumer.ts';
      const args = ['--import', 'tsx', program, JSON.stringify({ databaseUrl: database.url, redisUrl, prefix, hang })];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      children.push(child);
      const lines: string[] = [];
      createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
      await vi.waitFor(() => expect(lines).toContain('ready'), { timeout: 20_000 });
      return { child, lines };
    }

    it('hands an enqueued payload to the handler, unchanged, with attempt 1', async () => {
      const got: Run[] = [];
      await consume({ 'compression.run': async (delivery) => void got.push(delivery) });
      const sent = payload(7);
      await queue.enqueue('compression.run', sent, { id: 'a-7' });
      await vi.waitFor(() => expect(got).toEqual([{ id: 'a-7', payload: sent, attempt: 1 }]), { timeout: 10_000 });
    });

    it('drops a second message with the id of one that waits, and takes that id again once it is done', async () => {
      const epochs: number[] = [];
      await queue.enqueue('compression.run', payload(1), { id: 'same' });
      await queue.enqueue('compression.run', payload(2), { id: 'same' });
      await consume({ 'compression.run': async (delivery) => void epochs.push(delivery.payload.epoch) });
      await vi.waitFor(() => expect(epochs).toEqual([1]), { timeout: 10_000 });
      await vi.waitFor(
        async () => {
          await queue.enqueue('compression.run', payload(3), { id: 'same' });
          expect(epochs.length).toBeGreaterThan(1);
        },
        { timeout: 10_000 },
      );
      expect(epochs.slice(1).every((epoch) => epoch === 3)).toBe(true);
    });

    it('serves greater priority first and equal priority in the order of arrival', async () => {
      const order: string[] = [];
      for (const [id, priority] of [
        ['low-1', 0],
        ['mid', 5],
        ['low-2', 0],
        ['high', 100],
      ] as const) {
        await queue.enqueue('compression.run', payload(), { id, priority });
      }
      await consume({ 'compression.run': async (delivery) => void order.push(delivery.id) });
      await vi.waitFor(() => expect(order).toEqual(['high', 'mid', 'low-1', 'low-2']), { timeout: 10_000 });
    });

    it('holds a delayed message back for its delay', async () => {
      const arrivals = new Map<string, number>();
      await consume({ 'webhook.attempt': async (delivery) => void arrivals.set(delivery.id, Date.now()) });
      const message = { delivery_id: `whd_${someId()}`, tenant_id: `ten_${someId()}`, attempt: 1 };
      const sentAt = Date.now();
      await queue.enqueue('webhook.attempt', message, { id: 'later', delayMs: 700 });
      await queue.enqueue('webhook.attempt', message, { id: 'now' });
      await vi.waitFor(() => expect([...arrivals.keys()]).toEqual(['now', 'later']), { timeout: 10_000 });
      expect((arrivals.get('later') ?? 0) - sentAt).toBeGreaterThanOrEqual(690);
    });

    it('brings a message again whose handler threw, and stops after the attempts of the catalogue', async () => {
      const tries: [string, number][] = [];
      await consume({
        'compression.run': async (delivery) => {
          tries.push([delivery.id, delivery.attempt]);
          throw new Error('handler failed');
        },
      });
      await queue.enqueue('compression.run', payload(), { id: 'fails' });
      await vi.waitFor(() => expect(tries).toHaveLength(3), { timeout: 15_000 });
      await queue.enqueue('compression.run', payload(), { id: 'later' });
      await vi.waitFor(() => expect(tries).toHaveLength(6), { timeout: 15_000 });
      const times = [1, 2, 3];
      expect(tries).toEqual([...times.map((n) => ['fails', n]), ...times.map((n) => ['later', n])]);
    });

    it('brings the message of a killed consumer process to another one', async () => {
      const first = await consumerProcess(true);
      await queue.enqueue('compression.run', payload(), { id: 'orphan' });
      await vi.waitFor(() => expect(first.lines).toContain('got orphan 1'), { timeout: 10_000 });
      const got: Run[] = [];
      await consume({ 'compression.run': async (delivery) => void got.push(delivery) });
      expect(got).toEqual([]);
      first.child.kill('SIGKILL');
      await vi.waitFor(() => expect(got.map(({ id, attempt }) => [id, attempt])).toEqual([['orphan', 2]]), { timeout: 15_000 });
    });

    it('close waits for the running handler, and leaves what waits to others', async () => {
      let finish: () => void = () => undefined;
      const running = new Promise<void>((resolve) => {
        finish = resolve;
      });
      const events: string[] = [];
      const consumer = await consume({
        'compression.run': async (delivery) => {
          events.push(`begin ${delivery.id}`);
          await running;
          events.push(`end ${delivery.id}`);
        },
      });
      await queue.enqueue('compression.run', payload(), { id: 'one' });
      await queue.enqueue('compression.run', payload(), { id: 'two' });
      await vi.waitFor(() => expect(events).toEqual(['begin one']), { timeout: 10_000 });
      const closed = consumer.close().then(() => events.push('closed'));
      finish();
      await closed;
      expect(events).toEqual(['begin one', 'end one', 'closed']);
      const rest: string[] = [];
      await consume({ 'compression.run': async (delivery) => void rest.push(delivery.id) });
      await vi.waitFor(() => expect(rest).toEqual(['two']), { timeout: 10_000 });
    });

    it('handles up to `concurrency` messages at the same time, never more', async () => {
      let running = 0;
      let most = 0;
      let handled = 0;
      const enqueued = Array.from({ length: 9 }, (_, i) => queue.enqueue('compression.run', payload(), { id: `c-${i}` }));
      await Promise.all(enqueued);
      await consume(
        {
          'compression.run': async () => {
            running += 1;
            most = Math.max(most, running);
            await vi.waitFor(() => expect(most).toBe(3), { timeout: 5_000 });
            running -= 1;
            handled += 1;
          },
        },
        3,
      );
      await vi.waitFor(() => expect(handled).toBe(9), { timeout: 15_000 });
      expect(most).toBe(3);
    });

    it('refuses a payload that breaks the catalogue, before it is sent', async () => {
      const wrong = { ...payload(), epoch: -1 };
      await expect(queue.enqueue('compression.run', wrong, { id: 'x' })).rejects.toThrow(
        /compression\.run breaks the catalogue at \/epoch/,
      );
    });

    it('a consumer asked for a queue it has no handler for does not start', async () => {
      const consumer = createJobConsumer(config);
      consumers.push(consumer);
      const options = { queues: ['webhook.attempt'] as const, handlers: {}, concurrency: 1, onError: () => undefined };
      await expect(consumer.start(options)).rejects.toThrow(/No handler for queue webhook.attempt/);
    });

    it('a producer says queue_unavailable within seconds while the backend is away, and works again when it is back', async () => {
      const target = new URL(backend === 'redis' ? redisServer : database.url);
      const proxy = await FaultProxy.start(target.hostname, Number(target.port || 6379));
      const through = new URL(target);
      through.port = String(proxy.port);
      through.hostname = '127.0.0.1';
      const proxied =
        backend === 'redis' ? { ...config, queue: { ...config.queue, redisUrl: through.href } } : { ...config, databaseUrl: through.href };
      const producer = createJobQueue(proxied);
      try {
        await proxy.cut();
        for (const call of [() => producer.ping(), () => producer.enqueue('compression.run', payload(), { id: 'never' })]) {
          const started = Date.now();
          const error = await call().catch((reason: unknown) => reason);
          expect(error).toBeInstanceOf(AppError);
          expect(error).toMatchObject({ code: 'queue_unavailable', status: 503, retryable: true });
          expect(Date.now() - started).toBeLessThan(6_000);
        }
        await proxy.heal();
        await vi.waitFor(() => producer.ping(), { timeout: 10_000, interval: 100 });
        await vi.waitFor(() => producer.enqueue('compression.run', payload(), { id: 'again' }), { timeout: 10_000, interval: 100 });
        await proxy.cut();
        await expect(producer.enqueue('compression.run', payload(), { id: 'lost' })).rejects.toMatchObject({ code: 'queue_unavailable' });
        await proxy.heal();
        await vi.waitFor(() => producer.enqueue('compression.run', payload(), { id: 'third' }), { timeout: 15_000, interval: 100 });
      } finally {
        await producer.close();
        await proxy.close();
      }
    });

    it('a consumer that lost its backend receives again when it is back', async () => {
      const target = new URL(backend === 'redis' ? redisServer : database.url);
      const proxy = await FaultProxy.start(target.hostname, Number(target.port || 6379));
      const through = new URL(target);
      through.port = String(proxy.port);
      through.hostname = '127.0.0.1';
      const proxied =
        backend === 'redis' ? { ...config, queue: { ...config.queue, redisUrl: through.href } } : { ...config, databaseUrl: through.href };
      const got: string[] = [];
      const consumer = createJobConsumer(proxied);
      const handlers: JobHandlers = { 'compression.run': async (delivery) => void got.push(delivery.id) };
      await consumer.start({ queues: ['compression.run'], handlers, concurrency: 1, onError: () => undefined });
      try {
        await queue.enqueue('compression.run', payload(), { id: 'before' });
        await vi.waitFor(() => expect(got).toEqual(['before']), { timeout: 10_000 });
        await proxy.cut();
        await queue.enqueue('compression.run', payload(), { id: 'during' });
        await proxy.heal();
        await vi.waitFor(() => expect(got).toContain('during'), { timeout: 20_000 });
        await queue.enqueue('compression.run', payload(), { id: 'after' });
        await vi.waitFor(() => expect(got).toContain('after'), { timeout: 20_000 });
      } finally {
        await consumer.close();
        await proxy.close();
      }
    });
  });
}
