/** GET /v1/jobs: newest first, with filters. */
import Type from 'typebox';
import { jobStates } from '#contracts';
import type { ApiDeps } from '../deps.js';
import { listOf, listPages, pageQuery } from '../http/list-page.js';
import { problemResponses } from '../http/problem.js';
import { idOf, Timestamp } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { JobResource, toJobResource } from './job-resource.js';

const Query = Type.Object(
  {
    ...pageQuery,
    state: Type.Optional(Type.Enum([...jobStates])),
    model_id: Type.Optional(idOf('model')),
    created_after: Type.Optional(Timestamp),
    created_before: Type.Optional(Timestamp),
  },
  { additionalProperties: false },
);

export function listJobs(app: Api, { jobs, cursors }: Pick<ApiDeps, 'jobs' | 'cursors'>): void {
  const schema = { tags: ['jobs'], summary: 'List jobs', querystring: Query, response: { 200: listOf(JobResource), ...problemResponses } };
  app.get('/v1/jobs', { config: { scope: 'jobs:read' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const { state, model_id: modelId, created_after: after, created_before: before } = request.query;
    const filter = {
      ...(state === undefined ? {} : { state }),
      ...(modelId === undefined ? {} : { modelId }),
      ...(after === undefined ? {} : { createdAfter: new Date(after) }),
      ...(before === undefined ? {} : { createdBefore: new Date(before) }),
    };
    const pages = listPages(request, cursors);
    const page = await jobs.list(tenantId, { limit: pages.limit, after: pages.after, filter });
    const counts = await jobs.countArtifacts(
      tenantId,
      page.rows.map((job) => job.id),
    );
    return pages.answer(reply, page, (job) => toJobResource(job, counts.get(job.id) ?? 0));
  });
}
