/** GET /v1/jobs/{id}/artifacts: what the job has produced. */
import type { ApiDeps } from '../deps.js';
import { ArtifactResource, toArtifactResource } from '../http/artifact-resource.js';
import { listOf } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { findJob } from './find-job.js';

export function listJobArtifacts(app: Api, deps: Pick<ApiDeps, 'jobs' | 'artifacts'>): void {
  const schema = {
    tags: ['jobs', 'artifacts'],
    summary: 'List the artifacts of a job',
    params: idParams('job'),
    response: { 200: listOf(ArtifactResource), ...problemResponses },
  };
  app.get('/v1/jobs/:id/artifacts', { config: { scope: 'artifacts:read' }, schema }, async (request) => {
    const { tenantId } = request.principal;
    const job = await findJob(deps, tenantId, request.params.id);
    const artifacts = await deps.artifacts.listOfJob(tenantId, job.id);
    return { object: 'list' as const, data: artifacts.map(toArtifactResource), has_more: false, next_cursor: null };
  });
}
