/** POST /v1/jobs/{id}/retry: the same request again as a new job, once the old one has ended. */
import { AppError, isTerminal, newId } from '#contracts';
import type { JobRecord, NewJob } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { findJob } from './find-job.js';
import { traceparentOf } from './job-request.js';
import { JobResource } from './job-resource.js';
import { type SubmitDeps, submitJob } from './submit-job.js';

export function retryJob(app: Api, deps: SubmitDeps): void {
  const schema = {
    tags: ['jobs'],
    summary: 'Run a job again as a new one',
    params: idParams('job'),
    response: { 201: JobResource, 202: JobResource, ...problemResponses },
  };
  app.post('/v1/jobs/:id/retry', { config: { scope: 'jobs:write' }, schema }, async (request, reply) => {
    const earlier = await findJob(deps, request.principal.tenantId, request.params.id);
    if (!isTerminal(earlier.state)) throw new AppError('job_not_terminal', `The job is still ${earlier.state}.`);
    const job = repeat(earlier, { requestId: request.id, traceparent: traceparentOf(request.headers.traceparent) });
    const operation = 'POST /v1/jobs/{id}/retry';
    return submitJob(deps, { request, reply }, { job, operation, fingerprintOf: { retry: earlier.id } });
  });
}

function repeat(earlier: JobRecord, origin: { readonly requestId: string; readonly traceparent: string | null }): NewJob {
  const createdAt = new Date();
  const patienceMs = earlier.deadlineAt === null ? null : earlier.deadlineAt.getTime() - earlier.createdAt.getTime();
  return {
    ...origin,
    id: newId('job', createdAt.getTime()),
    modelId: earlier.modelId,
    teacherModelId: earlier.teacherModelId,
    calibrationId: earlier.calibrationId,
    evaluationId: earlier.evaluationId,
    recipe: earlier.recipe as object,
    recipeSha256: earlier.recipeSha256,
    priority: earlier.priority,
    timeoutSeconds: earlier.timeoutSeconds,
    deadlineAt: patienceMs === null ? null : new Date(createdAt.getTime() + patienceMs),
    metadata: earlier.metadata as Record<string, string>,
    webhookUrl: earlier.webhookUrl,
    retriedFromId: earlier.id,
    createdAt,
  };
}
