/** The job as clients see it. */
import Type, { type Static } from 'typebox';
import { CompressionRecipe, type JobState, jobStates } from '#contracts';
import type { JobRecord } from '../deps.js';
import { weakTag } from '../http/entity-tag.js';
import { iso, isoOrNull, nullable, Timestamp } from '../http/resource-schemas.js';
import { revisionOf } from './job-watcher.js';

const AnyObject = Type.Record(Type.String(), Type.Unknown());

export const JobResource = Type.Object({
  id: Type.String(),
  object: Type.Literal('job'),
  type: Type.Literal('compression'),
  state: Type.Enum([...jobStates]),
  phase: nullable(Type.String({ description: 'What the worker is doing, e.g. quantization.' })),
  progress: nullable(
    Type.Object({
      fraction: Type.Number({ description: '0 to 1 over the whole job.' }),
      message: Type.String(),
      eta_seconds: nullable(Type.Number()),
    }),
  ),
  model_id: Type.String(),
  teacher_model_id: nullable(Type.String({ description: 'The model that the job learns from, where it brings one.' })),
  data: Type.Object({ calibration_id: nullable(Type.String()), evaluation_id: nullable(Type.String()) }),
  recipe: CompressionRecipe,
  recipe_sha256: Type.String(),
  priority: Type.Integer(),
  attempt: Type.Integer({ description: 'How often a worker has begun.' }),
  max_attempts: Type.Integer(),
  timeout_seconds: nullable(Type.Integer()),
  created_at: Timestamp,
  queued_at: Timestamp,
  started_at: nullable(Timestamp),
  finished_at: nullable(Timestamp),
  cancel_requested_at: nullable(Timestamp),
  deadline_at: nullable(Timestamp),
  result: nullable(AnyObject),
  error: nullable(
    Type.Object({
      code: Type.String(),
      message: Type.String(),
      phase: nullable(Type.String()),
      retryable: Type.Boolean(),
      details: AnyObject,
      doc_url: Type.String(),
    }),
  ),
  artifacts: Type.Object({ count: Type.Integer(), url: Type.String() }),
  metadata: Type.Record(Type.String(), Type.String()),
  webhook_url: nullable(Type.String()),
  retried_from_id: nullable(Type.String()),
  links: Type.Object({ self: Type.String(), events: Type.String(), cancel: Type.String() }),
});
export type JobResource = Static<typeof JobResource>;

const object = (value: unknown) => value as Record<string, unknown> | null;

function errorOf(job: JobRecord): JobResource['error'] {
  const error = object(job.error);
  if (error === null) return null;
  const code = String(error.code);
  return {
    code,
    message: String(error.message),
    phase: (error.phase as string | null | undefined) ?? null,
    retryable: error.retryable === true,
    details: object(error.details) ?? {},
    doc_url: `/problems/${code}`,
  };
}

export function toJobResource(job: JobRecord, artifactCount: number): JobResource {
  const self = `/v1/jobs/${job.id}`;
  return {
    id: job.id,
    object: 'job',
    type: 'compression',
    state: job.state satisfies JobState,
    phase: job.phase,
    progress: job.progress as JobResource['progress'],
    model_id: job.modelId,
    teacher_model_id: job.teacherModelId,
    data: { calibration_id: job.calibrationId, evaluation_id: job.evaluationId },
    recipe: job.recipe as unknown as CompressionRecipe,
    recipe_sha256: job.recipeSha256,
    priority: job.priority,
    attempt: job.attempt,
    max_attempts: job.maxAttempts,
    timeout_seconds: job.timeoutSeconds,
    created_at: iso(job.createdAt),
    queued_at: iso(job.queuedAt),
    started_at: isoOrNull(job.startedAt),
    finished_at: isoOrNull(job.finishedAt),
    cancel_requested_at: isoOrNull(job.cancelRequestedAt),
    deadline_at: isoOrNull(job.deadlineAt),
    result: object(job.result),
    error: errorOf(job),
    artifacts: { count: artifactCount, url: `${self}/artifacts` },
    metadata: job.metadata as Record<string, string>,
    webhook_url: job.webhookUrl,
    retried_from_id: job.retriedFromId,
    links: { self, events: `${self}/events`, cancel: `${self}/cancel` },
  };
}

export const jobTag = (job: JobRecord): string => weakTag(revisionOf(job));
