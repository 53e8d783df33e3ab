/** A job after its creation: reading, waiting, cancelling, retrying, and following its events. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { appendJobEvent, recordJobStateChange } from '#platform/db';
import { type ApiServer, startApiServer, uploadedModel } from '../../support/api-server.js';

let server: ApiServer;
let model: string;
beforeAll(async () => {
  server = await startApiServer();
  model = await uploadedModel(server.client);
});
afterAll(() => server.close());

const newJob = async (fields: object = {}): Promise<string> =>
  (
    await server.client
      .post('/v1/jobs')
      .send({ model_id: model, recipe: 'clean-up', ...fields })
      .expect(202)
  ).body.id;

/** What a worker does to the row. */
const move = (id: string, change: object) =>
  server.database.transaction(async (tx) => {
    const job = await tx.job.update({ where: { id }, data: { ...change, version: { increment: 1 } } });
    await recordJobStateChange(tx, job);
  });

describe('GET', () => {
  it('is 304 until the job changes', async () => {
    const id = await newJob();
    const first = await server.client.get(`/v1/jobs/${id}`).expect(200);
    const tag = first.headers.etag ?? '';
    await server.client.get(`/v1/jobs/${id}`).set('If-None-Match', tag).expect(304);
    await move(id, { state: 'running', startedAt: new Date(), attempt: 1 });
    const second = await server.client.get(`/v1/jobs/${id}`).set('If-None-Match', tag).expect(200);
    expect([second.body.state, second.body.attempt, second.headers.etag === tag]).toEqual(['running', 1, false]);
  });

  it('with Prefer: wait answers as soon as the job differs from what the client knows', async () => {
    const id = await newJob();
    const { etag = '' } = (await server.client.get(`/v1/jobs/${id}`).expect(200)).headers;
    const startedAt = performance.now();
    const waiting = server.client
      .get(`/v1/jobs/${id}`)
      .set('If-None-Match', etag)
      .set('Prefer', 'wait=30')
      .then((response) => response);
    await move(id, { state: 'running' });
    const response = await waiting;
    expect([response.status, response.body.state]).toEqual([200, 'running']);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
  });

  it('with Prefer: wait is 304 when nothing happens', async () => {
    const id = await newJob();
    const { etag = '' } = (await server.client.get(`/v1/jobs/${id}`).expect(200)).headers;
    await server.client.get(`/v1/jobs/${id}`).set('If-None-Match', etag).set('Prefer', 'wait=1').expect(304);
  });

  it('lists by state, model and time', async () => {
    const other = await uploadedModel(server.client);
    const a = await newJob({ model_id: other });
    const b = await newJob({ model_id: other });
    await server.client.post(`/v1/jobs/${a}/cancel`).expect(202);
    const ids = async (query: string) =>
      (await server.client.get(`/v1/jobs?model_id=${other}&${query}`).expect(200)).body.data.map((job: { id: string }) => job.id);
    expect(await ids('')).toEqual([b, a]);
    expect(await ids('state=canceled')).toEqual([a]);
    const now = encodeURIComponent(new Date(Date.now() + 60_000).toISOString());
    expect(await ids(`created_after=${now}`)).toEqual([]);
    expect(await ids(`created_before=${now}`)).toEqual([b, a]);
    expect((await server.client.get('/v1/jobs?state=lost').expect(400)).body.errors[0].pointer).toBe('query/state');
    expect((await server.client.get('/v1/jobs?bogus=1').expect(400)).body.errors[0].pointer).toBe('query/bogus');
  });
});

describe('cancel', () => {
  it('ends a queued job at once; asking again changes nothing', async () => {
    const id = await newJob();
    const first = await server.client.post(`/v1/jobs/${id}/cancel`).expect(202);
    expect(first.body).toMatchObject({ state: 'canceled' });
    expect(first.body.finished_at).not.toBeNull();
    const second = await server.client.post(`/v1/jobs/${id}/cancel`).expect(200);
    expect(second.body).toEqual(first.body);
  });

  it('asks a running job to stop', async () => {
    const id = await newJob();
    await move(id, { state: 'running' });
    const response = await server.client.post(`/v1/jobs/${id}/cancel`).expect(202);
    expect([response.body.state, response.body.cancel_requested_at === null]).toEqual(['canceling', false]);
    await server.client.post(`/v1/jobs/${id}/cancel`).expect(200);
  });

  it.each(['succeeded', 'failed', 'expired'])('is refused when the job has %s', async (state) => {
    const id = await newJob();
    await move(id, { state, finishedAt: new Date() });
    expect((await server.client.post(`/v1/jobs/${id}/cancel`).expect(409)).body.code).toBe('job_already_terminal');
  });
});

describe('retry', () => {
  it('makes a new job of the same request, once per idempotency key', async () => {
    const id = await newJob({ metadata: { a: 'b' }, priority: 7, timeout_seconds: 9 });
    await move(id, {
      state: 'failed',
      finishedAt: new Date(),
      error: { code: 'timeout', message: 'm', phase: null, retryable: false, details: {} },
    });
    const failed = (await server.client.get(`/v1/jobs/${id}`).expect(200)).body;
    expect(failed.error).toMatchObject({ code: 'timeout', doc_url: '/problems/timeout' });
    const retry = () => server.client.post(`/v1/jobs/${id}/retry`).set('Idempotency-Key', id).expect(202);
    const first = (await retry()).body;
    expect(first).toMatchObject({
      state: 'queued',
      retried_from_id: id,
      metadata: { a: 'b' },
      priority: 7,
      timeout_seconds: 9,
      error: null,
    });
    expect(first.id).not.toBe(id);
    expect((await retry()).body.id).toBe(first.id);
  });

  it('is refused while the job runs', async () => {
    const id = await newJob();
    expect((await server.client.post(`/v1/jobs/${id}/retry`).expect(409)).body.code).toBe('job_not_terminal');
  });
});

describe('events', () => {
  it('are listed in order, after a sequence', async () => {
    const id = await newJob();
    for (let step = 1; step <= 5; step++) {
      await server.database.transaction((tx) =>
        appendJobEvent(tx, { tenantId: server.tenantId, jobId: id, type: 'job.progress', data: { step } }),
      );
    }
    const page = (await server.client.get(`/v1/jobs/${id}/events?after=1&limit=3`).expect(200)).body;
    expect(page.data.map((event: { sequence: number }) => event.sequence)).toEqual([2, 3, 4]);
    expect([page.has_more, page.next_after]).toEqual([true, 4]);
    expect((await server.client.get(`/v1/jobs/${id}/events?after=4`).expect(200)).body.data).toHaveLength(2);
  });

  it('stream as they happen, resume after Last-Event-ID, end with the job, and are 204 after that', async () => {
    const id = await newJob();
    const whole = follow(id);
    await whole.until('job.queued');
    await move(id, { state: 'running' });
    await whole.until('job.started');
    await move(id, { state: 'succeeded', finishedAt: new Date() });
    expect(await whole.end()).toEqual(['1 job.queued', '2 job.started', '3 job.succeeded']);
    expect(await follow(id, '1').end()).toEqual(['2 job.started', '3 job.succeeded']);
    const after = await server.client.get(`/v1/jobs/${id}/events`).set('Accept', 'text/event-stream').set('Last-Event-ID', '3').expect(204);
    expect(after.text).toBe('');
    await server.client.get(`/v1/jobs/${id}/events`).set('Accept', 'text/event-stream').set('Last-Event-ID', 'x').expect(400);
  });

  it('lose none of 200 that are written while they are read', async () => {
    const id = await newJob();
    const stream = follow(id);
    const append = (step: number) =>
      server.database.transaction((tx) =>
        appendJobEvent(tx, { tenantId: server.tenantId, jobId: id, type: 'job.progress', data: { step } }),
      );
    for (let group = 0; group < 20; group++) await Promise.all(Array.from({ length: 10 }, (_, i) => append(group * 10 + i)));
    await server.client.post(`/v1/jobs/${id}/cancel`).expect(202);
    const sequences = (await stream.end()).map((event) => Number(event.split(' ')[0]));
    expect(sequences).toEqual(Array.from({ length: 202 }, (_, i) => i + 1));
  });

  it('can be followed by ten streams of a key, not eleven', async () => {
    const id = await newJob();
    const streams = Array.from({ length: 10 }, () => follow(id));
    await Promise.all(streams.map((stream) => stream.until('job.queued')));
    const refused = await server.client.get(`/v1/jobs/${id}/events`).set('Accept', 'text/event-stream').expect(429);
    expect(refused.body.code).toBe('quota_exceeded');
    await server.client.post(`/v1/jobs/${id}/cancel`).expect(202);
    await Promise.all(streams.map((stream) => stream.end()));
  });

  it('do not keep the server from stopping', async () => {
    const other = await startApiServer();
    const id = (
      await other.client
        .post('/v1/jobs')
        .send({ model_id: await uploadedModel(other.client), recipe: 'clean-up' })
        .expect(202)
    ).body.id;
    const stream = follow(id, undefined, other);
    await stream.until('job.queued');
    const waiting = fetch(`${other.url}/v1/jobs/${id}`, { headers: { authorization: `Bearer ${other.key}`, prefer: 'wait=60' } });
    const startedAt = performance.now();
    await Promise.all([other.close(), waiting.catch(() => undefined)]);
    expect(performance.now() - startedAt).toBeLessThan(10_000);
    expect(await stream.end()).toEqual(['1 job.queued']);
  });
});

interface Followed {
  until(type: string): Promise<void>;
  /** '<id> <type>' of every event, when the server has closed the stream. */
  end(): Promise<string[]>;
}

function follow(id: string, lastEventId?: string, from: ApiServer = server): Followed {
  const seen: string[] = [];
  const wakers = new Set<() => void>();
  const headers = {
    authorization: `Bearer ${from.key}`,
    accept: 'text/event-stream',
    ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
  };
  const reading = (async () => {
    const response = await fetch(`${from.url}/v1/jobs/${id}/events`, { headers });
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    const decoder = new TextDecoder();
    let text = '';
    for await (const chunk of response.body ?? []) {
      text += decoder.decode(chunk, { stream: true });
      const frames = text.split('\n\n');
      text = frames.pop() ?? '';
      for (const frame of frames) {
        const [, sequence, type] = /^id: (\d+)\nevent: (\S+)\ndata: /m.exec(frame) ?? [];
        if (sequence !== undefined) seen.push(`${sequence} ${type}`);
      }
      for (const wake of wakers) wake();
    }
  })();
  return {
    until: (type) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (seen.some((event) => event.endsWith(` ${type}`))) resolve();
        };
        wakers.add(look);
        look();
        reading.then(() => reject(new Error(`the stream ended without ${type}`)), reject);
      }),
    end: async () => {
      await reading;
      return seen;
    },
  };
}
