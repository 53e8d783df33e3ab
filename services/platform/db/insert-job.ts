/** Job creation in one statement: the row, its first event and the outbox entry, or nothing when what it names is missing. */
import type { Db } from './database.js';
import type { Job, Prisma } from './generated/client.js';
import { notificationChannels } from './notification.js';
import { compressionRunEntry } from './outbox.js';
import { recordWebhookEvent } from './webhook-event-repository.js';

export interface NewJob {
  readonly id: string;
  readonly modelId: string;
  /** A second model, that the first one learns from. */
  readonly teacherModelId: string | null;
  readonly calibrationId: string | null;
  readonly evaluationId: string | null;
  /** A CompressionRecipe. */
  readonly recipe: object;
  readonly recipeSha256: string;
  /** Larger is sooner. */
  readonly priority: number;
  readonly timeoutSeconds: number | null;
  readonly deadlineAt: Date | null;
  readonly metadata: Readonly<Record<string, string>>;
  readonly webhookUrl: string | null;
  readonly retriedFromId: string | null;
  readonly requestId: string | null;
  readonly traceparent: string | null;
  readonly createdAt: Date;
}

/** The row that insertJob writes, for an answer made before it is written. */
export function newJobRow(tenantId: string, job: NewJob): Job {
  return {
    ...job,
    tenantId,
    recipe: job.recipe as Prisma.JsonObject,
    metadata: { ...job.metadata },
    state: 'queued',
    phase: null,
    progress: null,
    attempt: 0,
    maxAttempts: 3,
    crashes: 0,
    leaseEpoch: 0,
    leaseUntil: null,
    workerId: null,
    cancelRequestedAt: null,
    result: null,
    error: null,
    version: 1,
    eventSequence: 1,
    queuedAt: job.createdAt,
    startedAt: null,
    finishedAt: null,
  };
}

/** 'missing': a model or a data set is not there (any more). 'subscribed': see `unlessSubscribed`. Then nothing was written. */
export type InsertJobOutcome = 'created' | 'missing' | 'subscribed';

/**
 * The caller's transaction also gets the webhook event and its deliveries. With `unlessSubscribed` nothing is written when there is
 * somebody to tell: then this is one statement, which needs no transaction around it.
 */
export async function insertJob(
  db: Db,
  tenantId: string,
  { unlessSubscribed = false, ...job }: NewJob & { readonly unlessSubscribed?: boolean },
): Promise<InsertJobOutcome> {
  const entry = compressionRunEntry({ tenantId, id: job.id, leaseEpoch: 0, priority: job.priority });
  const modelIds = [...new Set([job.modelId, job.teacherModelId].filter((id) => id !== null))];
  const datasetIds = [...new Set([job.calibrationId, job.evaluationId].filter((id) => id !== null))];
  // FOR SHARE orders this against the deletion of a model or data set. One round trip for everything a job begins with.
  const [row] = await db.$queryRaw<{ created: boolean; subscribed: boolean }[]>`
    WITH listener AS (
      SELECT EXISTS (SELECT FROM webhook_endpoint WHERE tenant_id = ${tenantId} AND enabled AND deleted_at IS NULL
                     AND events && ARRAY['job.queued', '*']) AS subscribed
    ), source AS (
      SELECT id FROM model WHERE tenant_id = ${tenantId} AND id = ANY(${modelIds}::text[]) AND deleted_at IS NULL ORDER BY id FOR SHARE
    ), data AS (
      SELECT id FROM dataset WHERE tenant_id = ${tenantId} AND id = ANY(${datasetIds}::text[]) AND deleted_at IS NULL FOR SHARE
    ), created AS (
      INSERT INTO job (id, tenant_id, state, model_id, teacher_model_id, calibration_id, evaluation_id, recipe, recipe_sha256, priority, timeout_seconds,
                       deadline_at, metadata, webhook_url, retried_from_id, request_id, traceparent, event_sequence, created_at, queued_at)
      SELECT ${job.id}, ${tenantId}, 'queued', ${job.modelId}, ${job.teacherModelId}, ${job.calibrationId}, ${job.evaluationId}, ${JSON.stringify(job.recipe)}::jsonb,
             ${job.recipeSha256}, ${job.priority}::int, ${job.timeoutSeconds}::int, ${job.deadlineAt}::timestamptz,
             ${JSON.stringify(job.metadata)}::jsonb, ${job.webhookUrl}, ${job.retriedFromId}, ${job.requestId}, ${job.traceparent}, 1,
             ${job.createdAt}::timestamptz, ${job.createdAt}::timestamptz
      FROM listener
      WHERE (SELECT count(*) FROM source) = ${modelIds.length}::int AND (SELECT count(*) FROM data) = ${datasetIds.length}::int AND NOT (subscribed AND ${unlessSubscribed})
      RETURNING id
    ), event AS (
      INSERT INTO job_event (tenant_id, job_id, sequence, type, data)
      SELECT ${tenantId}, id, 1, 'job.queued', '{"state":"queued","attempt":0}'::jsonb FROM created
    ), wake_up AS (
      INSERT INTO outbox (tenant_id, queue, message_id, payload, priority)
      SELECT ${tenantId}, ${entry.queue}, ${entry.messageId}, ${JSON.stringify(entry.payload)}::jsonb, ${job.priority}::int FROM created
    )
    SELECT subscribed, EXISTS (SELECT FROM created) AS created,
           (SELECT pg_notify(${notificationChannels.outbox}, ${entry.queue})::text FROM created)
    FROM listener`;
  if (row?.created !== true) return row?.subscribed === true && unlessSubscribed ? 'subscribed' : 'missing';
  if (row.subscribed) await recordQueued(db, tenantId, job);
  return 'created';
}

async function recordQueued(tx: Db, tenantId: string, job: NewJob): Promise<void> {
  await recordWebhookEvent(tx, {
    tenantId,
    type: 'job.queued',
    jobId: job.id,
    jobWebhookUrl: job.webhookUrl,
    data: {
      job_id: job.id,
      model_id: job.modelId,
      state: 'queued',
      attempt: 0,
      sequence: 1,
      job_url: `/v1/jobs/${job.id}`,
      result: null,
      error: null,
      metadata: job.metadata,
    },
  });
}
