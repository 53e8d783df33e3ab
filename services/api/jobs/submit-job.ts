/** The use case behind create and retry: store once per idempotency key, answer 202, or 201 when the job ends within `Prefer: wait`. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isTerminal } from '#contracts';
import type { ApiDeps, JobRecord, NewJob } from '../deps.js';
import { clientGone } from '../http/client-gone.js';
import { parseIdempotencyKey, sha256OfJson } from '../http/idempotency-key.js';
import { parsePreferWait } from '../http/prefer-wait.js';
import { type JobResource, jobTag, toJobResource } from './job-resource.js';
import { waitForJob } from './wait-for-job.js';

export type SubmitDeps = Pick<ApiDeps, 'jobs' | 'watcher' | 'metrics'>;

export interface Submission {
  readonly job: NewJob;
  /** Method and path template. */
  readonly operation: string;
  /** What must be the same when the key is used again. */
  readonly fingerprintOf: unknown;
}

export async function submitJob(
  { jobs, watcher, metrics }: SubmitDeps,
  { request, reply }: { readonly request: FastifyRequest; readonly reply: FastifyReply },
  { job, operation, fingerprintOf }: Submission,
): Promise<JobResource> {
  const { tenantId } = request.principal;
  const row = jobs.newRow(tenantId, job);
  const resource = toJobResource(row, 0);
  const key = parseIdempotencyKey(request.headers['idempotency-key']);
  const idempotency =
    key === null
      ? {}
      : {
          idempotency: {
            operation,
            key,
            fingerprint: sha256OfJson(fingerprintOf),
            answer: { status: 202, body: resource, resourceId: job.id },
          },
        };
  const earlier = await jobs.create(tenantId, { job, ...idempotency });
  request.facts.job_id = earlier?.resourceId ?? job.id;
  if (earlier !== null) {
    reply.header('Idempotent-Replayed', 'true').header('Location', `/v1/jobs/${earlier.resourceId}`).header('Retry-After', '2');
    reply.code(202);
    return earlier.body as JobResource;
  }
  metrics.jobsCreated.inc();
  const seconds = parsePreferWait(request.headers.prefer);
  const waited =
    seconds === null ? row : await waitUntilEnd({ jobs, watcher, metrics }, { row, tenantId, seconds, signal: clientGone(reply) });
  const ended = isTerminal(waited.state);
  reply.header('Location', `/v1/jobs/${job.id}`).header('ETag', jobTag(waited));
  if (seconds !== null) reply.header('Preference-Applied', `wait=${seconds}`);
  if (!ended) reply.header('Retry-After', '2');
  reply.code(ended ? 201 : 202);
  return waited === row ? resource : toJobResource(waited, await jobs.artifactCount(tenantId, job.id));
}

interface EndWait {
  readonly row: JobRecord;
  readonly tenantId: string;
  readonly seconds: number;
  readonly signal: AbortSignal;
}

async function waitUntilEnd(deps: SubmitDeps, { row, tenantId, seconds, signal }: EndWait): Promise<JobRecord> {
  const done = (job: JobRecord) => isTerminal(job.state);
  return (await waitForJob(row, deps, { tenantId, seconds, signal, done })) ?? row;
}
