import { afterAll, beforeAll, expect, it } from 'vitest';
import { readWorkBacklog } from '#platform/db';
import { JobWorld } from '../../support/job-world.js';

let world: JobWorld;
beforeAll(async () => {
  world = await JobWorld.open();
});
afterAll(() => world.close());

it('the backlog is what the rows say: counts by state, the age of the oldest that waits, and of the oldest message not yet sent', async () => {
  expect(await readWorkBacklog(world.database)).toEqual({
    queues: [
      { queue: 'compression.run', rows: { queued: 0, running: 0, canceling: 0 }, oldestAgeSeconds: 0 },
      { queue: 'webhook.attempt', rows: { pending: 0 }, oldestAgeSeconds: 0 },
    ],
    outboxLagSeconds: 0,
  });
  const { db } = world.database;
  const ago = (seconds: number) => new Date(Date.now() - seconds * 1000);
  const [waiting, running, ended] = [await world.createJob(), await world.createJob(), await world.createJob()];
  await world.createJob();
  await db.job.update({ where: { id: waiting.id }, data: { queuedAt: ago(600) } });
  await db.job.update({ where: { id: running.id }, data: { state: 'running', queuedAt: ago(9_000) } });
  await db.job.update({ where: { id: ended.id }, data: { state: 'failed', queuedAt: ago(9_000) } });
  await db.outbox.updateMany({ where: { messageId: `${waiting.id}-0` }, data: { availableAt: ago(60) } });

  const { queues, outboxLagSeconds } = await readWorkBacklog(world.database);
  expect(queues[0]?.rows).toEqual({ queued: 2, running: 1, canceling: 0 });
  expect(queues[0]?.oldestAgeSeconds).toBeGreaterThanOrEqual(600);
  expect(queues[0]?.oldestAgeSeconds).toBeLessThan(660);
  expect(outboxLagSeconds).toBeGreaterThanOrEqual(60);
  expect(outboxLagSeconds).toBeLessThan(120);
});
