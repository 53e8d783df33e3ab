/** Queues: wake-ups between processes, on Redis or on Postgres. The only importer of bullmq. */
import type { ConfigWithDatabase } from '../config/index.js';
import { BullmqJobConsumer } from './bullmq-job-consumer.js';
import { BullmqJobQueue } from './bullmq-job-queue.js';
import type { JobConsumer, JobQueue } from './job-queue.js';
import type { QueueLocation } from './queue-backend.js';

export type { ConsumerOptions, Delivery, EnqueueOptions, JobConsumer, JobHandler, JobHandlers, JobQueue } from './job-queue.js';
export { migrateQueueSchema } from './queue-backend.js';

type QueueSettings = Pick<ConfigWithDatabase, 'databaseUrl' | 'queue'>;

/** A producer with its own connection, opened at the first use. `onError` hears of connection trouble between calls. */
export function createJobQueue(config: QueueSettings, onError?: (error: Error) => void): JobQueue {
  return new BullmqJobQueue(location(config), onError);
}

/** A consumer with its own connection. */
export function createJobConsumer(config: QueueSettings): JobConsumer {
  return new BullmqJobConsumer(location(config), config.queue);
}

function location({ databaseUrl, queue }: QueueSettings): QueueLocation {
  return { databaseUrl, prefix: queue.prefix, ...(queue.redisUrl === undefined ? {} : { redisUrl: queue.redisUrl }) };
}
