/** The worker's side of a job row: claim it, keep it, end it or give it back. Every write names the epoch of its claim (fencing). */
import { type JobError, type JobProgress, newId } from '#contracts';
import { type BlobContent, registerBlobs } from './blob-repository.js';
import type { Database, Db } from './database.js';
import type { Job } from './generated/client.js';
import { Prisma } from './generated/client.js';
import { appendOutbox, compressionRunEntry } from './outbox.js';
import { appendJobEvent, recordJobStateChange } from './record-job-event.js';

/** The right to write to a job: valid while the row has this epoch, i.e. until someone else took the job over. */
export interface JobLease {
  readonly tenantId: string;
  readonly jobId: string;
  readonly epoch: number;
}

export interface ClaimedJob extends JobLease {
  readonly job: Job;
}

export interface StoredFile {
  /** Relative to the folder of the model, as its `external_data` entries name it. */
  readonly path: string;
  readonly sha256: string;
  readonly role: 'model' | 'external_data';
}

export interface StoredDataset {
  readonly sha256: string;
  readonly format: 'npz' | 'npy';
}

/** What a job works on; null for what was deleted since. */
export interface JobInputs {
  readonly modelFiles: readonly StoredFile[] | null;
  readonly teacherFiles: readonly StoredFile[] | null;
  readonly calibration: StoredDataset | null;
  readonly evaluation: StoredDataset | null;
}

export interface NewArtifact extends BlobContent {
  readonly name: string;
  /** 'rejected_model': it missed the gate of its recipe. */
  readonly role: 'model' | 'rejected_model' | 'external_data' | 'report' | 'report_html';
  readonly mediaType: string;
}

export interface JobEnding {
  readonly state: 'succeeded' | 'failed' | 'canceled';
  readonly result: Readonly<Record<string, unknown>> | null;
  readonly error: JobError | null;
  readonly artifacts: readonly NewArtifact[];
  /** Called while nobody can remove bytes of these contents; throws when they cannot be made sure of. */
  readonly ensureStored?: () => Promise<void>;
}

export interface Requeue {
  readonly reason: string;
  /** False gives the attempt back: a shutdown is not the job's fault. */
  readonly countsAttempt: boolean;
  /** True when the process died while running it. */
  readonly crashed: boolean;
  /** Not again before this time has passed. */
  readonly delayMs: number;
}

export type LeaseState = 'held' | 'cancel_requested' | 'lost';

export interface JobLeaseRepository {
  /** Null when there is nothing to do: not queued any more, claimed by another, canceled, or past its deadline. */
  claim(message: { tenantId: string; jobId: string }): Promise<ClaimedJob | null>;
  inputs(claimed: ClaimedJob): Promise<JobInputs>;
  renew(lease: JobLease): Promise<LeaseState>;
  /** False when the lease is lost. */
  recordProgress(lease: JobLease, phase: string, progress: JobProgress): Promise<boolean>;
  /** The state the job ended in (a job that was asked to stop ends as canceled), or null when the lease is lost. */
  finish(lease: JobLease, ending: JobEnding): Promise<JobEnding['state'] | null>;
  /** Back to the queue at a new epoch; canceled instead when that was asked. Null when the lease is lost. */
  requeue(lease: JobLease, requeue: Requeue): Promise<'queued' | 'canceled' | null>;
}

export interface JobLeaseOptions {
  readonly workerId: string;
  readonly leaseMs: number;
}

export function jobLeaseRepository(database: Database, { workerId, leaseMs }: JobLeaseOptions): JobLeaseRepository {
  return {
    claim: ({ tenantId, jobId }) =>
      database.transaction(async (tx) => {
        const [claimed] = await tx.$queryRaw<{ epoch: number }[]>`
          UPDATE job SET state = 'running', lease_epoch = lease_epoch + 1, lease_until = now() + ${leaseMs} * interval '1 millisecond',
            worker_id = ${workerId}, attempt = attempt + 1, version = version + 1, phase = 'starting',
            started_at = COALESCE(started_at, now())
          WHERE id = ${jobId} AND tenant_id = ${tenantId} AND state = 'queued' AND (deadline_at IS NULL OR deadline_at > now())
          RETURNING lease_epoch AS epoch`;
        if (claimed === undefined) return null;
        const job = await tx.job.findUniqueOrThrow({ where: { id: jobId } });
        await recordJobStateChange(tx, job);
        return { tenantId, jobId, epoch: claimed.epoch, job };
      }),

    inputs: async ({ tenantId, job }) => {
      return {
        modelFiles: await findModelFiles(database.db, tenantId, job.modelId),
        teacherFiles: await findModelFiles(database.db, tenantId, job.teacherModelId),
        calibration: await findDataset(database.db, tenantId, job.calibrationId),
        evaluation: await findDataset(database.db, tenantId, job.evaluationId),
      };
    },

    renew: async (lease) => {
      const [row] = await database.db.$queryRaw<{ cancel: boolean }[]>`
        UPDATE job SET lease_until = now() + ${leaseMs} * interval '1 millisecond'
        WHERE id = ${lease.jobId} AND tenant_id = ${lease.tenantId} AND lease_epoch = ${lease.epoch} AND state IN ('running', 'canceling')
        RETURNING cancel_requested_at IS NOT NULL AS cancel`;
      if (row === undefined) return 'lost';
      return row.cancel ? 'cancel_requested' : 'held';
    },

    recordProgress: (lease, phase, progress) =>
      database.transaction(async (tx) => {
        const changed = await tx.$executeRaw`
          UPDATE job SET phase = ${phase}, progress = ${JSON.stringify(progress)}::jsonb, version = version + 1
          WHERE id = ${lease.jobId} AND tenant_id = ${lease.tenantId} AND lease_epoch = ${lease.epoch} AND state = 'running'`;
        if (changed === 0) return false;
        const { tenantId, jobId } = lease;
        await appendJobEvent(tx, { tenantId, jobId, type: 'job.progress', data: { phase, ...progress } });
        return true;
      }),

    finish: (lease, ending) => database.transaction((tx) => finishLeased(tx, lease, ending)),
    requeue: (lease, requeue) => database.transaction((tx) => requeueLeased(tx, lease, requeue)),
  };
}

async function findModelFiles(db: Db, tenantId: string, id: string | null): Promise<StoredFile[] | null> {
  if (id === null) return null;
  const row = await db.model.findFirst({ where: { tenantId, id, deletedAt: null }, select: { files: true } });
  return row === null ? null : (row.files as unknown as StoredFile[]);
}

async function findDataset(db: Db, tenantId: string, id: string | null): Promise<StoredDataset | null> {
  if (id === null) return null;
  const row = await db.dataset.findFirst({ where: { tenantId, id, deletedAt: null }, select: { sha256: true, format: true } });
  return row === null ? null : { sha256: row.sha256, format: row.format === 'npy' ? 'npy' : 'npz' };
}

/** Locks the row if the lease still holds. */
async function lockLeased(tx: Db, lease: JobLease): Promise<{ state: 'running' | 'canceling' } | null> {
  const [row] = await tx.$queryRaw<{ state: 'running' | 'canceling' }[]>`
    SELECT state FROM job WHERE id = ${lease.jobId} AND tenant_id = ${lease.tenantId} AND lease_epoch = ${lease.epoch}
      AND state IN ('running', 'canceling') FOR UPDATE`;
  return row ?? null;
}

/** One transaction: artifacts, result, state, event and webhook deliveries, or nothing of it. */
export async function finishLeased(tx: Db, lease: JobLease, ending: JobEnding): Promise<JobEnding['state'] | null> {
  const locked = await lockLeased(tx, lease);
  if (locked === null) return null;
  const canceled = locked.state === 'canceling' && ending.state === 'succeeded';
  const kept: JobEnding = canceled ? { state: 'canceled', result: null, error: null, artifacts: [] } : ending;
  if (kept.artifacts.length > 0) {
    await registerBlobs(tx, lease.tenantId, kept.artifacts);
    await kept.ensureStored?.();
    await tx.artifact.createMany({
      data: kept.artifacts.map(({ bytes, ...artifact }) => ({
        ...artifact,
        id: newId('artifact'),
        tenantId: lease.tenantId,
        jobId: lease.jobId,
        bytes: BigInt(bytes),
      })),
    });
  }
  const job = await tx.job.update({
    where: { id: lease.jobId },
    data: {
      state: kept.state,
      result: json(kept.result),
      error: json(kept.error),
      finishedAt: new Date(),
      leaseUntil: null,
      workerId: null,
      phase: kept.error?.phase ?? null,
      ...(kept.state === 'succeeded' ? { progress: { fraction: 1, message: 'done', eta_seconds: 0 } } : {}),
      version: { increment: 1 },
    },
  });
  await recordJobStateChange(tx, job);
  return kept.state;
}

/** `leaseEpoch` grows, so that the next queue message has a new id and the old owner can write no more. */
export async function requeueLeased(tx: Db, lease: JobLease, requeue: Requeue): Promise<'queued' | 'canceled' | null> {
  const locked = await lockLeased(tx, lease);
  if (locked === null) return null;
  if (locked.state === 'canceling') {
    await finishLeased(tx, lease, { state: 'canceled', result: null, error: null, artifacts: [] });
    return 'canceled';
  }
  const job = await tx.job.update({
    where: { id: lease.jobId },
    data: {
      state: 'queued',
      leaseEpoch: { increment: 1 },
      leaseUntil: null,
      workerId: null,
      phase: null,
      progress: Prisma.DbNull,
      queuedAt: new Date(),
      version: { increment: 1 },
      ...(requeue.countsAttempt ? {} : { attempt: { decrement: 1 } }),
      ...(requeue.crashed ? { crashes: { increment: 1 } } : {}),
    },
  });
  await recordJobStateChange(tx, job, { requeued: { reason: requeue.reason } });
  const availableAt = new Date(Date.now() + requeue.delayMs);
  await appendOutbox(tx, { ...compressionRunEntry(job), ...(requeue.delayMs > 0 ? { availableAt } : {}) });
  return 'queued';
}

function json(value: object | null): Prisma.InputJsonObject | typeof Prisma.DbNull {
  return value === null ? Prisma.DbNull : (value as Prisma.InputJsonObject);
}
