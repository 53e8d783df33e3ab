/** Server-sent events of one job: resumable by sequence, a comment every 15 seconds, closed after the event that ends the job. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppError, isTerminal } from '#contracts';
import type { ApiDeps, JobEventRecord, JobRecord } from '../deps.js';
import { clientGone } from '../http/client-gone.js';
import { revisionOf } from './job-watcher.js';

export interface EventStreams {
  /** Answers 204 when all events up to the last one were seen; else streams until the job has ended. */
  open(exchange: { request: FastifyRequest; reply: FastifyReply }, from: { job: JobRecord; after: number }): Promise<FastifyReply>;
  /** Ends all streams, so that the server can stop; clients come again by themselves. */
  close(): void;
}

const streamsPerKeyMax = 10;
const heartbeatMs = 15_000;
const reconnectMs = 3_000;
const batch = 500;

export function createEventStreams({ jobs, watcher, metrics }: Pick<ApiDeps, 'jobs' | 'watcher' | 'metrics'>): EventStreams {
  const openPerKey = new Map<string, number>();
  const opened = new Set<FastifyReply>();

  async function follow(reply: FastifyReply, tenantId: string, from: { job: JobRecord; after: number }): Promise<void> {
    const signal = clientGone(reply);
    let { job, after } = from;
    let silentSince = Date.now();
    while (!signal.aborted) {
      const events = await jobs.events(tenantId, job.id, { after, limit: batch });
      for (const event of events) await write(reply, frame(event), signal);
      if (events.length > 0) silentSince = Date.now();
      after = events.at(-1)?.sequence ?? after;
      if (events.length === batch) continue;
      // The job was read before its events: when it had ended then, nothing can follow the events just read.
      if (isTerminal(job.state) && after >= job.eventSequence) return;
      if (Date.now() - silentSince >= heartbeatMs) {
        await write(reply, ': still here\n\n', signal);
        silentSince = Date.now();
      }
      await watcher.changed(tenantId, job.id, { seen: revisionOf(job), ms: heartbeatMs, signal });
      if (watcher.closed) return;
      const current = await jobs.find(tenantId, job.id);
      if (current === null) return;
      job = current;
    }
  }

  return {
    open: async ({ request, reply }, from) => {
      const { tenantId, apiKeyId } = request.principal;
      if (isTerminal(from.job.state) && from.after >= from.job.eventSequence) return reply.code(204).send();
      const count = openPerKey.get(apiKeyId) ?? 0;
      if (count >= streamsPerKeyMax) throw new AppError('quota_exceeded', `At most ${streamsPerKeyMax} streams per key can be open.`);
      openPerKey.set(apiKeyId, count + 1);
      opened.add(reply);
      metrics.openEventStreams.inc();
      begin(reply);
      try {
        await follow(reply, tenantId, from);
      } catch (error) {
        request.log.warn({ err: error }, 'event stream broken');
      } finally {
        openPerKey.set(apiKeyId, (openPerKey.get(apiKeyId) ?? 1) - 1);
        opened.delete(reply);
        metrics.openEventStreams.dec();
        reply.raw.end();
      }
      return reply;
    },
    close: () => {
      watcher.close();
      for (const reply of opened) reply.raw.end();
    },
  };
}

function begin(reply: FastifyReply): void {
  reply.hijack();
  const headers = {
    ...reply.getHeaders(),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store, no-transform',
    'x-accel-buffering': 'no',
  };
  const defined = Object.entries(headers).filter((entry): entry is [string, string | number | string[]] => entry[1] !== undefined);
  reply.raw.writeHead(200, Object.fromEntries(defined));
  reply.raw.write(`retry: ${reconnectMs}\n\n`);
}

/** Waits for a slow reader instead of filling memory for it. */
function write(reply: FastifyReply, text: string, signal: AbortSignal): Promise<void> {
  if (signal.aborted || reply.raw.write(text)) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      reply.raw.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    reply.raw.once('drain', done);
    signal.addEventListener('abort', done);
  });
}

/** JSON has no line breaks, so one `data:` line is enough. */
function frame(event: JobEventRecord): string {
  const data = { sequence: event.sequence, type: event.type, created_at: event.createdAt.toISOString(), data: event.data };
  return `id: ${event.sequence}\nevent: ${event.type}\ndata: ${JSON.stringify(data)}\n\n`;
}
