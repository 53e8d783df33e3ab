/** GET /v1/jobs/{id}: state, progress, result; cheap to poll (ETag), or held back until it changes (Prefer: wait). */
import Type from 'typebox';
import { isTerminal } from '#contracts';
import type { ApiDeps, JobRecord } from '../deps.js';
import { clientGone } from '../http/client-gone.js';
import { noneMatchHits } from '../http/entity-tag.js';
import { parsePreferWait } from '../http/prefer-wait.js';
import { problemResponses } from '../http/problem.js';
import { idParams } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { findJob } from './find-job.js';
import { JobResource, jobTag, toJobResource } from './job-resource.js';
import { waitForJob } from './wait-for-job.js';

const Headers = Type.Object({
  'if-none-match': Type.Optional(Type.String({ description: 'ETag of the job as you know it: 304 when it is still so.' })),
  prefer: Type.Optional(
    Type.String({
      description: '`wait=N`: hold the answer until the job differs from If-None-Match, or has ended; N seconds (1 to 60) at most.',
    }),
  ),
});

export function getJob(app: Api, deps: Pick<ApiDeps, 'jobs' | 'watcher'>): void {
  const schema = {
    tags: ['jobs'],
    summary: 'Get a job',
    params: idParams('job'),
    headers: Headers,
    response: { 200: JobResource, 304: Type.Null({ description: 'Unchanged.' }), ...problemResponses },
  };
  app.get('/v1/jobs/:id', { config: { scope: 'jobs:read' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const known = request.headers['if-none-match'];
    const first = await findJob(deps, tenantId, request.params.id);
    const seconds = parsePreferWait(request.headers.prefer);
    const firstTag = jobTag(first);
    // Without If-None-Match the client knows nothing yet: what it waits for is a change from now on.
    const done = (job: JobRecord) =>
      isTerminal(job.state) || (known === undefined ? jobTag(job) !== firstTag : !noneMatchHits(known, jobTag(job)));
    const wait = { tenantId, seconds: seconds ?? 0, signal: clientGone(reply), done };
    const job = seconds === null ? first : ((await waitForJob(first, deps, wait)) ?? first);
    if (seconds !== null) reply.header('Preference-Applied', `wait=${seconds}`);
    reply.header('ETag', jobTag(job)).header('Cache-Control', 'private, no-cache');
    if (noneMatchHits(known, jobTag(job))) return reply.code(304).send(null);
    if (!isTerminal(job.state)) reply.header('Retry-After', '2');
    return toJobResource(job, await deps.jobs.artifactCount(tenantId, job.id));
  });
}
