/**
 * The reconciler's view, across tenants: rows whose worker, queue entry or time is gone, and the step that puts each right. Every
 * step locks its row and looks again, so that any number of processes may repair at once; a lock around it all would stop every
 * repair when its holder freezes.
 */
import { errorTable, type JobError } from '#contracts';
import type { Database, Db } from './database.js';
import { deleteExpiredIdempotencyKeys } from './idempotency-repository.js';
import { finishLeased, requeueLeased } from './job-lease-repository.js';
import { appendOutbox, compressionRunEntry, webhookAttemptEntry } from './outbox.js';
import { recordJobStateChange } from './record-job-event.js';

const batchMax = 200;

export interface JobRepairs {
  /** Jobs whose lease had lapsed: given back to the queue. */
  readonly requeued: number;
  /** Jobs whose lease had lapsed once too often. */
  readonly failed: number;
  readonly canceled: number;
  readonly expired: number;
  /** Queue messages that were written again because the first may be lost. */
  readonly awakened: number;
}

export interface RepairOptions {
  /** A queued job or a due delivery that nothing has touched for this long gets its message again. */
  readonly silentMs: number;
}

export interface JobRepairRepository {
  repairJobs(options: RepairOptions): Promise<JobRepairs>;
  /** Returns how many deliveries were awakened. */
  repairDeliveries(options: RepairOptions): Promise<number>;
  removeExpiredIdempotencyKeys(): Promise<number>;
  /** Which of these jobs are running at this epoch; the scratch folders of others are orphans. */
  findHeldLeases(leases: readonly { jobId: string; epoch: number }[]): Promise<ReadonlySet<string>>;
  /** Which of these jobs run or will run; the checkpoints of others are orphans. */
  findUnended(jobIds: readonly string[]): Promise<ReadonlySet<string>>;
}

export function jobRepairRepository(database: Database): JobRepairRepository {
  const { db } = database;
  return {
    repairJobs: async (options) => {
      const lapsed = await repairLapsedLeases(database);
      return { ...lapsed, expired: await expireOverdue(database), awakened: await awakenQueued(database, options) };
    },
    repairDeliveries: (options) => awakenDeliveries(database, options),
    removeExpiredIdempotencyKeys: () => deleteExpiredIdempotencyKeys(db),
    findHeldLeases: async (leases) => {
      const rows = await db.job.findMany({
        where: { id: { in: leases.map(({ jobId }) => jobId) }, state: { in: ['running', 'canceling'] } },
        select: { id: true, leaseEpoch: true },
      });
      return new Set(rows.map(({ id, leaseEpoch }) => `${id}-${leaseEpoch}`));
    },
    findUnended: async (jobIds) => {
      const where = { id: { in: [...jobIds] }, state: { in: ['queued', 'running', 'canceling'] } };
      return new Set((await db.job.findMany({ where, select: { id: true } })).map(({ id }) => id));
    },
  };
}

interface LapsedJob {
  readonly tenantId: string;
  readonly id: string;
  readonly epoch: number;
  readonly state: 'running' | 'canceling';
  readonly attempt: number;
  readonly maxAttempts: number;
  readonly phase: string | null;
}

async function repairLapsedLeases(database: Database): Promise<{ requeued: number; failed: number; canceled: number }> {
  const lapsed = await database.db.$queryRaw<LapsedJob[]>`
    SELECT tenant_id AS "tenantId", id, lease_epoch AS epoch, state, attempt, max_attempts AS "maxAttempts", phase
    FROM job WHERE state IN ('running', 'canceling') AND lease_until < now() ORDER BY lease_until LIMIT ${batchMax}`;
  const count = { requeued: 0, failed: 0, canceled: 0 };
  for (const row of lapsed) {
    const ended = await database.transaction((tx) => repairLapsedJob(tx, row));
    if (ended !== null) count[ended] += 1;
  }
  return count;
}

async function repairLapsedJob(tx: Db, row: LapsedJob): Promise<'requeued' | 'failed' | 'canceled' | null> {
  const lease = { tenantId: row.tenantId, jobId: row.id, epoch: row.epoch };
  // The worker may have come back between the two looks.
  const [still] = await tx.$queryRaw<{ id: string }[]>`
    SELECT id FROM job WHERE id = ${row.id} AND lease_epoch = ${row.epoch} AND lease_until < now() FOR UPDATE`;
  if (still === undefined) return null;
  if (row.state === 'running' && row.attempt >= row.maxAttempts) {
    const error: JobError = {
      code: 'worker_crashed',
      message: `The worker was lost ${row.attempt} times while it ran this job; it is not tried again.`,
      phase: row.phase,
      retryable: errorTable.worker_crashed.retryable,
      details: { attempts: row.attempt },
    };
    return (await finishLeased(tx, lease, { state: 'failed', result: null, error, artifacts: [] })) === null ? null : 'failed';
  }
  const state = await requeueLeased(tx, lease, { reason: 'worker_lost', countsAttempt: true, crashed: false, delayMs: 0 });
  return state === 'queued' ? 'requeued' : state;
}

async function expireOverdue(database: Database): Promise<number> {
  const overdue = await database.db.$queryRaw<{ id: string }[]>`
    SELECT id FROM job WHERE state = 'queued' AND deadline_at <= now() LIMIT ${batchMax}`;
  let expired = 0;
  for (const { id } of overdue) if (await database.transaction((tx) => expireJob(tx, id))) expired += 1;
  return expired;
}

async function expireJob(tx: Db, id: string): Promise<boolean> {
  const error: JobError = {
    code: 'deadline_exceeded',
    message: 'The deadline passed before a worker was free.',
    phase: null,
    retryable: errorTable.deadline_exceeded.retryable,
    details: {},
  };
  const changed = await tx.$executeRaw`
    UPDATE job SET state = 'expired', finished_at = now(), version = version + 1, error = ${JSON.stringify(error)}::jsonb
    WHERE id = ${id} AND state = 'queued' AND deadline_at <= now()`;
  if (changed === 0) return false;
  await recordJobStateChange(tx, await tx.job.findUniqueOrThrow({ where: { id } }));
  return true;
}

/** The queue drops a message whose id it still holds, so that only lost ones come to life again. */
async function awakenQueued(database: Database, { silentMs }: RepairOptions): Promise<number> {
  return database.transaction(async (tx) => {
    const silent = await tx.$queryRaw<{ tenantId: string; id: string; leaseEpoch: number; priority: number }[]>`
      SELECT tenant_id AS "tenantId", id, lease_epoch AS "leaseEpoch", priority FROM job
      WHERE state = 'queued' AND queued_at < now() - ${silentMs} * interval '1 millisecond'
        AND NOT EXISTS (SELECT FROM outbox WHERE queue = 'compression.run' AND message_id = job.id || '-' || job.lease_epoch)
      ORDER BY priority DESC, queued_at LIMIT ${batchMax}`;
    for (const job of silent) await appendOutbox(tx, compressionRunEntry(job));
    return silent.length;
  });
}

async function awakenDeliveries(database: Database, { silentMs }: RepairOptions): Promise<number> {
  return database.transaction(async (tx) => {
    const silent = await tx.$queryRaw<{ tenantId: string; id: string; attempt: number }[]>`
      SELECT tenant_id AS "tenantId", id, attempts + 1 AS attempt FROM webhook_delivery
      WHERE state = 'pending' AND next_attempt_at < now() - ${silentMs} * interval '1 millisecond'
        AND (lease_until IS NULL OR lease_until < now())
        AND NOT EXISTS (SELECT FROM outbox WHERE queue = 'webhook.attempt' AND message_id = webhook_delivery.id || '-' || (attempts + 1))
      ORDER BY next_attempt_at LIMIT ${batchMax}`;
    for (const delivery of silent) await appendOutbox(tx, webhookAttemptEntry(delivery));
    return silent.length;
  });
}
