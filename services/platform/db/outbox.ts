/** The transactional outbox: rows written with the fact that makes a message due, turned into queue messages after commit. */
import type { QueueName, QueuePayload } from '#contracts';
import type { Db } from './database.js';
import type { Prisma } from './generated/client.js';
import { notify } from './notification.js';

export interface OutboxEntry<Name extends QueueName = QueueName> {
  readonly tenantId: string;
  readonly queue: Name;
  /** Deterministic, so that adding twice leaves one message. */
  readonly messageId: string;
  readonly payload: QueuePayload<Name>;
  /** Larger is sooner. */
  readonly priority?: number;
  /** Not before this time; at once when absent. */
  readonly availableAt?: Date;
}

/** Writes the row in the caller's transaction; the relay is woken when it commits. */
export async function appendOutbox<Name extends QueueName>(tx: Db, entry: OutboxEntry<Name>): Promise<void> {
  await tx.outbox.create({
    data: {
      tenantId: entry.tenantId,
      queue: entry.queue,
      messageId: entry.messageId,
      payload: entry.payload as Prisma.InputJsonObject,
      priority: entry.priority ?? 0,
      ...(entry.availableAt === undefined ? {} : { availableAt: entry.availableAt }),
    },
  });
  await notify(tx, 'outbox', entry.queue);
}

/** The entry that makes a worker look at a queued job; `epoch` is the job's lease epoch. */
export function compressionRunEntry(job: {
  tenantId: string;
  id: string;
  leaseEpoch: number;
  priority: number;
}): OutboxEntry<'compression.run'> {
  return {
    tenantId: job.tenantId,
    queue: 'compression.run',
    messageId: `${job.id}-${job.leaseEpoch}`,
    payload: { job_id: job.id, tenant_id: job.tenantId, epoch: job.leaseEpoch },
    priority: job.priority,
  };
}

/** The entry for one try of a delivery. `attempt` counts from 1. */
export function webhookAttemptEntry(delivery: {
  tenantId: string;
  id: string;
  attempt: number;
  availableAt?: Date;
}): OutboxEntry<'webhook.attempt'> {
  return {
    tenantId: delivery.tenantId,
    queue: 'webhook.attempt',
    messageId: `${delivery.id}-${delivery.attempt}`,
    payload: { delivery_id: delivery.id, tenant_id: delivery.tenantId, attempt: delivery.attempt },
    ...(delivery.availableAt === undefined ? {} : { availableAt: delivery.availableAt }),
  };
}

export interface DueOutboxRow {
  readonly id: bigint;
  readonly queue: string;
  readonly messageId: string;
  readonly payload: unknown;
  readonly priority: number;
  readonly createdAt: Date;
}

/** Locks up to `limit` due rows of `queue`, oldest first, passing over rows that another relay holds. */
export function lockDueOutboxRows(tx: Db, queue: QueueName, limit: number): Promise<DueOutboxRow[]> {
  return tx.$queryRaw<DueOutboxRow[]>`
    SELECT id, queue, message_id AS "messageId", payload, priority, created_at AS "createdAt"
    FROM outbox WHERE queue = ${queue} AND available_at <= now()
    ORDER BY available_at, id LIMIT ${limit} FOR UPDATE SKIP LOCKED`;
}

export async function deleteOutboxRows(tx: Db, ids: readonly bigint[]): Promise<void> {
  await tx.outbox.deleteMany({ where: { id: { in: [...ids] } } });
}

/** Milliseconds until the next row of `queue` is due (0 when one is), or null when there is none. */
export async function nextOutboxDueMs(db: Db, queue: QueueName): Promise<number | null> {
  const [row] = await db.$queryRaw<{ ms: number | null }[]>`
    SELECT (EXTRACT(EPOCH FROM min(available_at) - now()) * 1000)::float8 AS ms FROM outbox WHERE queue = ${queue}`;
  return row?.ms == null ? null : Math.max(0, row.ms);
}
