/** POST /v1/jobs/{id}/cancel: a queued job ends at once, a running one as soon as its worker has stopped; asking twice is harmless. */
import type { ApiDeps } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { findJob } from './find-job.js';
import { JobResource, jobTag, toJobResource } from './job-resource.js';

export function cancelJob(app: Api, { jobs }: Pick<ApiDeps, 'jobs'>): void {
  const schema = {
    tags: ['jobs'],
    summary: 'Cancel a job',
    params: idParams('job'),
    response: { 200: JobResource, 202: JobResource, ...problemResponses },
  };
  app.post('/v1/jobs/:id/cancel', { config: { scope: 'jobs:cancel' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const before = await findJob({ jobs }, tenantId, request.params.id);
    const job = await jobs.cancel(tenantId, request.params.id);
    reply.code(before.version === job.version ? 200 : 202).header('ETag', jobTag(job));
    return toJobResource(job, await jobs.artifactCount(tenantId, job.id));
  });
}
