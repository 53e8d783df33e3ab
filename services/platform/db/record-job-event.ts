/** What happened to a job, in order: numbered events for clients, and from them the webhooks; both in the caller's transaction. */
import { AppError, type JobEventData, type JobState, type WebhookEventType } from '#contracts';
import type { Db } from './database.js';
import type { Job, Prisma } from './generated/client.js';
import { notificationChannels } from './notification.js';
import { recordWebhookEvent } from './webhook-event-repository.js';

/** Types of the rows behind `/v1/jobs/{id}/events`. Those that end the job are named like its state. */
export type JobEventType =
  | 'job.queued'
  | 'job.started'
  | 'job.progress'
  | 'job.requeued'
  | 'job.canceling'
  | 'job.succeeded'
  | 'job.failed'
  | 'job.canceled'
  | 'job.expired';

export interface JobEventInput {
  readonly tenantId: string;
  readonly jobId: string;
  readonly type: JobEventType;
  readonly data: Readonly<Record<string, unknown>>;
}

/**
 * Appends an event and returns its sequence number: 1, 2, 3, ... without gaps, because the number is taken under the lock of the
 * job's row, which is held until commit. Readers are notified.
 */
export async function appendJobEvent(tx: Db, { tenantId, jobId, type, data }: JobEventInput): Promise<number> {
  const rows = await tx.$queryRaw<{ sequence: number }[]>`
    WITH numbered AS (
      UPDATE job SET event_sequence = event_sequence + 1 WHERE id = ${jobId} AND tenant_id = ${tenantId} RETURNING event_sequence
    )
    INSERT INTO job_event (tenant_id, job_id, sequence, type, data)
    SELECT ${tenantId}, ${jobId}, event_sequence, ${type}, ${JSON.stringify(data)}::jsonb FROM numbered
    RETURNING sequence, pg_notify(${notificationChannels.jobEvent}, job_id)::text`;
  const [row] = rows;
  if (row === undefined) throw new AppError('not_found', `No job has id ${jobId}.`);
  return row.sequence;
}

const webhookTypes: Partial<Record<JobState, WebhookEventType>> = {
  queued: 'job.queued',
  running: 'job.started',
  succeeded: 'job.succeeded',
  failed: 'job.failed',
  canceled: 'job.canceled',
  expired: 'job.expired',
};

const eventTypes = {
  queued: 'job.queued',
  running: 'job.started',
  canceling: 'job.canceling',
  succeeded: 'job.succeeded',
  failed: 'job.failed',
  canceled: 'job.canceled',
  expired: 'job.expired',
} as const satisfies Record<JobState, JobEventType>;

/**
 * Call it once after a row of `job` changed state, in the same transaction, with the row as it is now: writes the job event, the
 * webhook event and one delivery per subscriber. A job that goes back to `queued` says `job.requeued` and no webhook.
 */
export async function recordJobStateChange(
  tx: Db,
  job: Job,
  options: { readonly requeued?: { readonly reason: string } } = {},
): Promise<number> {
  const { tenantId, id: jobId } = job;
  const state = job.state as JobState;
  const facts = { state, attempt: job.attempt, ...(job.error === null ? {} : { error: job.error }) };
  if (options.requeued !== undefined) {
    return appendJobEvent(tx, { tenantId, jobId, type: 'job.requeued', data: { ...facts, reason: options.requeued.reason } });
  }
  const sequence = await appendJobEvent(tx, { tenantId, jobId, type: eventTypes[state], data: facts });
  const type = webhookTypes[state];
  if (type !== undefined) {
    await recordWebhookEvent(tx, { tenantId, type, jobId, jobWebhookUrl: job.webhookUrl, data: { ...webhookData(job, sequence) } });
  }
  return sequence;
}

function webhookData(job: Job, sequence: number): JobEventData {
  const error = job.error as Prisma.JsonObject | null;
  return {
    job_id: job.id,
    model_id: job.modelId,
    state: job.state,
    attempt: job.attempt,
    sequence,
    // A path: the process that sends it knows the public address of the API.
    job_url: `/v1/jobs/${job.id}`,
    result: job.result as Prisma.JsonObject | null,
    error: error === null ? null : { code: String(error.code), message: String(error.message) },
    metadata: job.metadata as Record<string, string>,
  };
}
