/** GET /v1/jobs/{id}/events: what has happened, as JSON, or as a stream (Accept: text/event-stream) that ends with the job. */
import Type from 'typebox';
import { AppError } from '#contracts';
import type { ApiDeps, JobEventRecord } from '../deps.js';
import { problemResponses } from '../http/problem.js';
import { idParams, iso, Timestamp } from '../http/resource-schemas.js';
import type { Api } from '../http/typed-app.js';
import { findJob } from './find-job.js';
import { createEventStreams } from './job-event-stream.js';

const EventResource = Type.Object({
  object: Type.Literal('job_event'),
  sequence: Type.Integer({ description: '1, 2, 3, … without gaps.' }),
  type: Type.String(),
  data: Type.Record(Type.String(), Type.Unknown()),
  created_at: Timestamp,
});

const EventList = Type.Object({
  object: Type.Literal('list'),
  data: Type.Array(EventResource),
  has_more: Type.Boolean(),
  next_after: Type.Integer({ description: '`after` of the next request.' }),
});

const Query = Type.Object(
  {
    after: Type.Optional(Type.Integer({ minimum: 0, description: 'Only events with a greater sequence.' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, description: 'Default 100; above 1000 means 1000.' })),
  },
  { additionalProperties: false },
);

const Headers = Type.Object({
  accept: Type.Optional(Type.String({ description: 'text/event-stream for a stream of server-sent events.' })),
  'last-event-id': Type.Optional(Type.String({ description: 'Streams only: the sequence after which to go on.' })),
});

export function toEventResource(event: JobEventRecord) {
  return {
    object: 'job_event' as const,
    sequence: event.sequence,
    type: event.type,
    data: event.data as Record<string, unknown>,
    created_at: iso(event.createdAt),
  };
}

export function listJobEvents(app: Api, deps: Pick<ApiDeps, 'jobs' | 'watcher' | 'metrics'>): void {
  const streams = createEventStreams(deps);
  app.addHook('preClose', async () => streams.close());
  const schema = {
    tags: ['jobs'],
    summary: 'List or follow the events of a job',
    params: idParams('job'),
    querystring: Query,
    headers: Headers,
    response: { 200: EventList, 204: Type.Null({ description: 'Streams only: nothing more will come.' }), ...problemResponses },
  };
  app.get('/v1/jobs/:id/events', { config: { scope: 'jobs:read' }, schema }, async (request, reply) => {
    const { tenantId } = request.principal;
    const job = await findJob(deps, tenantId, request.params.id);
    const { after = 0, limit = 100 } = request.query;
    if (wantsStream(request.headers.accept)) {
      return streams.open({ request, reply }, { job, after: lastEventId(request.headers['last-event-id']) ?? after });
    }
    const capped = Math.min(limit, 1_000);
    const events = await deps.jobs.events(tenantId, job.id, { after, limit: capped + 1 });
    const data = events.slice(0, capped).map(toEventResource);
    return { object: 'list' as const, data, has_more: events.length > capped, next_after: data.at(-1)?.sequence ?? after };
  });
}

const wantsStream = (accept: string | undefined) => /(^|,)\s*text\/event-stream\b/i.test(accept ?? '');

function lastEventId(header: string | undefined): number | null {
  if (header === undefined || header.trim() === '') return null;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header);
  throw new AppError('request_invalid', 'The header Last-Event-ID is not valid.', {
    errors: [{ pointer: 'header/last-event-id', code: 'format', detail: 'The id of an event of this stream is expected: a number.' }],
  });
}
